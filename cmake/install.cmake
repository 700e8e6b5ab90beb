# What `cmake --install` puts where. The client's headers keep their folders (permtab/permtab.h, permtab/shm/…), so that
# the same #include lines work from the source tree and from an installation.
#
# The CMake package is written by hand instead of exported: the targets here carry our own warning options, which
# are nobody else's business.

set(permtab_config_dir ${CMAKE_INSTALL_FULL_SYSCONFDIR}/permtab)
set(permtab_data_dir ${CMAKE_INSTALL_DATADIR}/permtab)
set(permtab_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/permtab)

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

configure_file(deploy/systemd/permtabd.service.in permtabd.service @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/permtabd.service DESTINATION lib/systemd/system)
install(FILES deploy/systemd/permtab.sysusers DESTINATION lib/sysusers.d RENAME permtab.conf)

configure_file(cmake/permtab.pc.in permtab.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/permtab.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

include(CMakePackageConfigHelpers)
configure_package_config_file(cmake/permtabConfig.cmake.in permtabConfig.cmake
  INSTALL_DESTINATION ${permtab_package_dir}
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(permtabConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/permtabConfig.cmake ${PROJECT_BINARY_DIR}/permtabConfigVersion.cmake
  DESTINATION ${permtab_package_dir})
