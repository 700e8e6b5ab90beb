# The libraries that permtab is built from, found by pkg-config; deploy/packages.txt says which package has which.

# Debian 13's msgpack-c.pc says `-Iinclude`, a folder that is relative to nothing: meant is the package's prefix.
# CMake refuses an imported target with a folder that does not exist.
function(permtab_mend_includes prefix)
  if(NOT ${prefix}_INCLUDE_DIRS)
    return()
  endif()
  set(mended "")
  foreach(folder ${${prefix}_INCLUDE_DIRS})
    if(NOT IS_ABSOLUTE ${folder})
      get_filename_component(folder ${folder} ABSOLUTE BASE_DIR ${${prefix}_PREFIX})
    endif()
    list(APPEND mended ${folder})
  endforeach()
  set_target_properties(PkgConfig::${prefix} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${mended}")
endfunction()

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(LIBEVENT REQUIRED IMPORTED_TARGET libevent_core libevent_extra libevent_pthreads)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(MARIADB REQUIRED IMPORTED_TARGET libmariadb)
pkg_search_module(MSGPACK REQUIRED IMPORTED_TARGET msgpack-c msgpack)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(CONFUSE REQUIRED IMPORTED_TARGET libconfuse)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
permtab_mend_includes(MSGPACK)
# These are for the tests alone.
pkg_check_modules(CMOCKA QUIET IMPORTED_TARGET cmocka)
