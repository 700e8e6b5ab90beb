#!/usr/bin/env python3
"""An installation, as `cmake --install` leaves it behind, is enough to build a C and a C++ program against, by
pkg-config and by CMake."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import unittest

from harness import BUILD, main, temporary_folder

# Opens a handle on a socket that is not there: links, runs, and fails as documented.
CONSUMER = r"""
#include <permtab.h>
#include <shm/reader.h>
#include <stdio.h>
#include <string.h>
int main(void)
{
    struct permtab_options options;
    struct permtab *table = 0;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.open_ms = 1;
    int code = permtab_open(&table, "/nonexistent/permtab.sock", &options);
    printf("%d %s\n", code, permtab_strerror(code));
    return code == PERMTAB_E_UNREACHABLE && table == 0 ? 0 : 1;
}
"""

CMAKE = """
cmake_minimum_required(VERSION 3.22)
project(consumer C CXX)
find_package(permtab 0.1 REQUIRED)
add_executable(in_c consumer.c)
target_link_libraries(in_c permtab::permtab)
add_executable(in_cpp consumer.cpp)
target_link_libraries(in_cpp permtab::permtab)
add_executable(in_c_static consumer.c)
target_link_libraries(in_c_static permtab::permtab_static)
"""


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = temporary_folder("install")
        cls.prefix = cls.folder / "prefix"
        # The umask lets nobody else in: what is installed is for all.
        cls.run_checked(["cmake", "--install", str(BUILD), "--prefix", str(cls.prefix)], umask=0o077)
        (cls.folder / "consumer.c").write_text(CONSUMER)
        (cls.folder / "consumer.cpp").write_text(CONSUMER)
        cls.library = next(cls.prefix.rglob("libpermtab.a")).parent

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @staticmethod
    def run_checked(arguments, **options):
        done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        assert done.returncode == 0, f"{' '.join(map(str, arguments))}\n{done.stdout}"
        return done.stdout

    def installed(self, pattern):
        found = [path.relative_to(self.prefix).as_posix() for path in self.prefix.rglob("*")]
        return [path for path in found if pathlib.PurePosixPath(path).match(pattern)]

    def test_everything_is_there(self):
        for pattern in ["bin/permtabctl", "sbin/permtabd", "libpermtab.so.0", "include/permtab/permtab.h",
                        "include/permtab/shm/reader.h", "etc/permtab/permtab.conf", "permtab.pc",
                        "system/permtabd.service", "sysusers.d/permtab.conf", "permtabConfig.cmake",
                        "permtab/schema/sqlite/*.sql", "permtab/policies/community.json", "doc/permtab/README.md"]:
            with self.subTest(pattern):
                self.assertNotEqual([], self.installed(pattern))

    def test_no_header_of_the_sidecar(self):
        self.assertEqual([], [path for path in self.installed("*.h") if not path.startswith("include/permtab/")])
        self.assertEqual({"permtab.h", "error.h", "order.h", "layout.h", "reader.h"},
                         {path.rsplit("/", 1)[1] for path in self.installed("*.h")})

    def test_programs_say_their_version(self):
        for name in ["bin/permtabctl", "sbin/permtabd"]:
            self.assertRegex(self.run_checked([self.prefix / name, "--version"]), r"^permtab(d|ctl) \d+\.\d+\.\d+$")

    def test_shared_library_shows_the_interface_alone(self):
        library = next(path for path in self.library.glob("libpermtab.so.*") if not path.is_symlink())
        names = [line.split()[-1] for line in
                 self.run_checked(["nm", "-D", "--defined-only", library]).splitlines()]
        self.assertIn("permtab_open", " ".join(names))
        self.assertEqual([], [name for name in names if not name.startswith("permtab_")])

    def pkg_config(self, *arguments):
        return self.run_checked(["pkg-config", *arguments, "permtab"],
                                env={"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": f"{self.library}/pkgconfig"}).split()

    def build_and_run(self, compiler, source, name, *libraries):
        program = self.folder / name
        self.run_checked([compiler, "-Wall", "-Wextra", "-Werror", *self.pkg_config("--cflags"), "-o", program,
                          self.folder / source, *libraries])
        self.run_checked([program], env={"LD_LIBRARY_PATH": str(self.library)})

    def test_pkg_config_c(self):
        self.build_and_run("gcc", "consumer.c", "pc_c", *self.pkg_config("--libs"))

    def test_pkg_config_cplusplus(self):
        self.build_and_run("g++", "consumer.cpp", "pc_cpp", *self.pkg_config("--libs"))

    def test_pkg_config_static(self):
        libraries = [word for word in self.pkg_config("--static", "--libs") if word != "-lpermtab"]
        self.build_and_run("gcc", "consumer.c", "pc_static", self.library / "libpermtab.a", *libraries)

    def test_cmake_package(self):
        (self.folder / "CMakeLists.txt").write_text(CMAKE)
        build = self.folder / "build"
        self.run_checked(["cmake", "-S", self.folder, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.prefix}"])
        self.run_checked(["cmake", "--build", build])
        for name in ["in_c", "in_cpp", "in_c_static"]:
            self.run_checked([build / name], env={"LD_LIBRARY_PATH": str(self.library)})

    def test_systemd_unit_names_installed_files(self):
        text = (self.prefix / self.installed("system/permtabd.service")[0]).read_text()
        self.assertNotIn("@", text)
        starts = re.findall(r"^Exec\w+=(\S+) -c (\S+)$", text, re.M)
        self.assertEqual([(f"{self.prefix}/sbin/permtabd", f"{self.prefix}/etc/permtab/permtab.conf")], starts)
        [document] = re.findall(r"^Documentation=file://(\S+)$", text, re.M)
        for path in [document, *starts[0]]:
            self.assertTrue(pathlib.Path(path).is_file(), path)

    def test_systemd_tries_again_what_may_end_well_and_nothing_else(self):
        """tests/long/unit.sh has systemd itself do it. What is no main process has no part in
        RestartPreventExitStatus."""
        text = (self.prefix / self.installed("system/permtabd.service")[0]).read_text()
        self.assertEqual(["ExecStart", "ExecReload"], re.findall(r"^(Exec\w+)=", text, re.M))
        for line in ("Type=notify", "KillMode=mixed", "OOMPolicy=continue", "FileDescriptorStoreMax=1",
                     "StartLimitIntervalSec=0", "Restart=always", "RestartPreventExitStatus=2 64"):
            self.assertRegex(text, f"(?m)^{line}$")

    def test_everybody_may_read_it(self):
        closed = [str(path) for path in [self.prefix, *self.prefix.rglob("*")] if not path.is_symlink()
                  and path.stat().st_mode & 0o055 != (0o055 if path.is_dir() else path.stat().st_mode & 0o011 | 0o044)]
        self.assertEqual([], closed)

    def test_folders_that_were_there_stay_as_they_are(self):
        prefix = self.folder / "guarded"
        (prefix / "lib").mkdir(parents=True, mode=0o750)
        self.run_checked(["cmake", "--install", str(BUILD), "--prefix", str(prefix)], umask=0o077)
        modes = {name: (prefix / name).stat().st_mode & 0o777
                 for name in (".", "lib", "lib/pkgconfig", "include/permtab/shm")}
        self.assertEqual({"lib": 0o750, "lib/pkgconfig": 0o755, "include/permtab/shm": 0o755},
                         {k: v for k, v in modes.items() if k != "."})

    def test_a_packager_has_a_stage_of_his_own(self):
        """DESTDIR is where it is put now, the prefix where it will be."""
        stage = self.folder / "stage"
        self.run_checked(["cmake", "--install", str(BUILD), "--prefix", "/opt/permtab"],
                         env={**os.environ, "DESTDIR": str(stage)})
        unit = next(stage.rglob("permtabd.service")).read_text()
        self.assertIn("\nExecStart=/opt/permtab/sbin/permtabd -c /opt/permtab/etc/permtab/permtab.conf\n", unit)
        self.assertNotIn(str(stage), unit)

    def test_it_may_be_moved(self):
        """An installation that was moved is found where it is, by pkg-config and by CMake; nothing names
        the prefix of the build."""
        moved = self.folder / "else where"
        shutil.copytree(self.prefix, moved, symlinks=True)
        library = moved / self.library.relative_to(self.prefix)
        flags = shlex.split(self.run_checked(["pkg-config", "--cflags", "--libs", "permtab"],
                                             env={"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": f"{library}/pkgconfig"}))
        folders = [pathlib.Path(flag[2:]).resolve() for flag in flags if flag[:2] in ("-I", "-L")]
        self.assertEqual([(moved / "include" / "permtab").resolve(), library.resolve()], folders)
        for name in ("pkgconfig/permtab.pc", "cmake/permtab/permtabConfig.cmake"):
            text = (library / name).read_text()
            for prefix in (str(self.prefix), "/usr/local"):
                self.assertNotIn(prefix, text)


if __name__ == "__main__":
    main()
