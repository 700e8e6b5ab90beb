# Fails when one of NAMES, which tests replace with the linker's --wrap, is called from no object of LIBRARIES.
# -DNM= -DNAMES= -DLIBRARIES=
execute_process(COMMAND ${NM} --undefined-only --format=posix ${LIBRARIES} OUTPUT_VARIABLE called RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "nm does not read the libraries")
endif()
foreach(name ${NAMES})
  if(NOT called MATCHES "(^|\n)${name} U")
    message(SEND_ERROR "${name} is replaced by a test, and nothing calls it")
  endif()
endforeach()
