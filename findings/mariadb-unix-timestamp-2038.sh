#!/bin/sh
# MariaDB 10.11: UNIX_TIMESTAMP() of a date after 2038-01-19 03:14:07 UTC is NULL, without an error or a warning, in
# strict mode too.
#
# Where NULL stands for "never", as it does in most tables of grants and memberships, a grant that was to end in 2040
# is stored as one that never ends:
#
#     INSERT INTO grants (expires_at) VALUES (UNIX_TIMESTAMP('2040-01-01 00:00:00') * 1000000);
#
# An engineer would expect 2208988800, or an error.
# TIMESTAMPDIFF(MICROSECOND, '1970-01-01', '2040-01-01') has no such limit.
#
# Takes a pinned server from Debian 12 into a temporary folder and runs it there on its own, as --bootstrap does: SQL
# from standard input, no socket. Exits with 0 when the server behaves as described, with 1 when it does not, with 77
# when it could not be tried.
set -u
version=1:10.11.19-0+deb12u1
folder=$(mktemp -d) || exit 77
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 77
apt-get download "mariadb-server-core=$version" liburing2 libnuma1 libaio1 >/dev/null 2>&1 || {
    echo "mariadb-server-core $version cannot be had here" >&2
    exit 77
}
for package in *.deb; do dpkg-deb -x "$package" unpacked; done
triplet="$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo x86_64-linux-gnu)"
export LD_LIBRARY_PATH="$folder/unpacked/usr/lib/$triplet"
server="$folder/unpacked/usr/sbin/mariadbd"
mkdir data
cat >look.sql <<END
CREATE DATABASE IF NOT EXISTS mysql;
CREATE DATABASE app;
USE app;
SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO', time_zone = '+00:00';
CREATE TABLE grants (name VARCHAR(40), expires_at BIGINT NULL);
INSERT INTO grants VALUES ('2037', UNIX_TIMESTAMP('2037-01-01 00:00:00') * 1000000);
INSERT INTO grants VALUES ('2040', UNIX_TIMESTAMP('2040-01-01 00:00:00') * 1000000);
SET @warnings = @@warning_count;
INSERT INTO grants VALUES ('2040 by TIMESTAMPDIFF', TIMESTAMPDIFF(MICROSECOND, '1970-01-01', '2040-01-01 00:00:00'));
SELECT VERSION() INTO OUTFILE '$folder/version';
INSERT INTO grants VALUES ('warnings', @warnings);
SELECT name, expires_at FROM grants INTO OUTFILE '$folder/seen';
END
"$server" --no-defaults --bootstrap --datadir="$folder/data" --lc-messages-dir="$folder/unpacked/usr/share/mysql" \
    --user="$(id -un)" --secure-file-priv= <look.sql >log 2>&1
[ -s version ] && [ -s seen ] || { cat log >&2; exit 77; }
printf '%s\n' "MariaDB $(cat version)" "$(cat seen)"
wanted=$(printf '2037\t2114380800000000\n2040\t\\N\n2040 by TIMESTAMPDIFF\t2208988800000000\nwarnings\t0')
[ "$(cat seen)" = "$wanted" ]
