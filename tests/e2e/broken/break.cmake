# Writes OUT: SOURCE of the checkout ROOT with TEXT replaced, as the file BREAK says. Fails unless TEXT is there exactly
# once: then the break has to be thought out anew.
include(${BREAK})
file(READ ${ROOT}/${SOURCE} whole)
string(FIND "${whole}" "${TEXT}" first)
string(FIND "${whole}" "${TEXT}" last REVERSE)
if(first EQUAL -1 OR NOT first EQUAL last)
  message(FATAL_ERROR "${BREAK}: its text is not in ${SOURCE} exactly once")
endif()
string(REPLACE "${TEXT}" "${REPLACEMENT}" whole "${whole}")
file(WRITE ${OUT} "${whole}")
