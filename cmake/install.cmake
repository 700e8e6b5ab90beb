# The places where `cmake --install` puts things. The client's headers keep their folders (permtab/permtab.h,
# permtab/shm/…), so that the same #include lines work from the source tree and from an installation.
#
# The CMake package is written by hand instead of exported: the targets here carry our own warning options, which
# are nobody else's business.
#
# The prefix is what `cmake --install --prefix` says, perhaps another than when this was configured: whoever is
# installed finds the rest from its own place, and what cannot is written at that time.

set(permtab_data_dir ${CMAKE_INSTALL_DATADIR}/permtab)
set(permtab_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/permtab)

# Folders that are not there yet are made for everyone to enter, whatever the umask; CMake 3.25 lets the umask cut even
# CMAKE_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS. Those that are there stay as they are. The second half is at the end.
set(permtab_folders ${CMAKE_INSTALL_BINDIR} ${CMAKE_INSTALL_SBINDIR} ${CMAKE_INSTALL_LIBDIR}/pkgconfig
  ${permtab_package_dir} ${CMAKE_INSTALL_INCLUDEDIR}/permtab/shm ${CMAKE_INSTALL_SYSCONFDIR}/permtab
  ${permtab_data_dir} ${CMAKE_INSTALL_DOCDIR} lib/systemd/system lib/sysusers.d)
install(CODE "
set(permtab_new_folders)
foreach(folder ${permtab_folders})
  cmake_path(ABSOLUTE_PATH folder BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\" NORMALIZE)
  while(NOT EXISTS \"\$ENV{DESTDIR}\${folder}\" AND NOT folder STREQUAL \"/\")
    list(APPEND permtab_new_folders \"\$ENV{DESTDIR}\${folder}\")
    cmake_path(GET folder PARENT_PATH folder)
  endwhile()
endforeach()
")

foreach(target permtabd permtabctl)
  if(TARGET ${target})
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "")
  endif()
endforeach()
if(TARGET permtabd)
  install(TARGETS permtabd RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
endif()
if(TARGET permtabctl)
  install(TARGETS permtabctl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(TARGETS permtab_client permtab_shared
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES client/permtab.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/permtab)
install(FILES shm/error.h shm/order.h shm/layout.h shm/reader.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/permtab/shm)

if(EXISTS ${PROJECT_SOURCE_DIR}/conf/permtab.conf)
  install(FILES conf/permtab.conf DESTINATION ${CMAKE_INSTALL_SYSCONFDIR}/permtab)
endif()
install(DIRECTORY conf/schema conf/policies DESTINATION ${permtab_data_dir} OPTIONAL)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL FILES_MATCHING PATTERN "*.md")
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)

# A unit needs absolute paths, so it is made when the prefix is known.
install(CODE "
set(permtab_docdir ${CMAKE_INSTALL_DOCDIR})
set(permtab_sbindir ${CMAKE_INSTALL_SBINDIR})
set(permtab_sysconfdir ${CMAKE_INSTALL_SYSCONFDIR})
foreach(folder permtab_docdir permtab_sbindir permtab_sysconfdir)
  cmake_path(ABSOLUTE_PATH \${folder} BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\" NORMALIZE)
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/deploy/systemd/permtabd.service.in ${PROJECT_BINARY_DIR}/permtabd.service @ONLY)
")
install(FILES ${PROJECT_BINARY_DIR}/permtabd.service deploy/systemd/permtabd.socket DESTINATION lib/systemd/system)
install(FILES deploy/systemd/permtab.sysusers DESTINATION lib/sysusers.d RENAME permtab.conf)

# permtab_pc_folder NAME FOLDER: a folder as permtab.pc names it.
function(permtab_pc_folder name folder)
  if(IS_ABSOLUTE ${folder})
    set(permtab_pc_${name} ${folder} PARENT_SCOPE)
  else()
    set(permtab_pc_${name} "\${prefix}/${folder}" PARENT_SCOPE)
  endif()
endfunction()
permtab_pc_folder(libdir ${CMAKE_INSTALL_LIBDIR})
permtab_pc_folder(includedir ${CMAKE_INSTALL_INCLUDEDIR})
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set(permtab_pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH permtab_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" permtab_pc_prefix "\${pcfiledir}/${permtab_pc_prefix}")
endif()
string(REPLACE ";" " " permtab_pc_private "${MSGPACK_LDFLAGS}")
configure_file(cmake/permtab.pc.in permtab.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/permtab.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

include(CMakePackageConfigHelpers)
configure_package_config_file(cmake/permtabConfig.cmake.in permtabConfig.cmake
  INSTALL_DESTINATION ${permtab_package_dir}
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(permtabConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/permtabConfig.cmake ${PROJECT_BINARY_DIR}/permtabConfigVersion.cmake
  DESTINATION ${permtab_package_dir})

install(CODE "
if(permtab_new_folders)
  file(CHMOD \${permtab_new_folders} PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
endif()
")
