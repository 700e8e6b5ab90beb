#!/usr/bin/env bash
# MariaDB 10.11.19 (Debian 12: mariadb-server). A table has an INSERT and an UPDATE trigger, and both write another
# table. Without locks an INSERT passes. After LOCK TABLES t WRITE, which locks what the triggers write by itself, it
# fails with error 1442, "already used by statement which invoked this trigger", though no statement used it. Right
# after FLUSH TABLES the same INSERT passes under the same lock; once anybody has read the other table it fails again.
# With one trigger it always passes.
#
# So a dump of data alone, which is full of LOCK TABLES (mysqldump's default), loads or not depending on who has read
# what before: make it with --skip-add-locks when the tables have triggers.
. "$(dirname "$0")/lib.sh"
start_mariadb

echo "CREATE DATABASE f" | sql mysql
sql f <<'SQL'
CREATE TABLE counter (one INT PRIMARY KEY, n INT);
INSERT INTO counter VALUES (1, 0);
CREATE TABLE t (a INT PRIMARY KEY);
CREATE TRIGGER t_insert AFTER INSERT ON t FOR EACH ROW UPDATE counter SET n = n + 1;
CREATE TRIGGER t_update AFTER UPDATE ON t FOR EACH ROW UPDATE counter SET n = n + 1;
SQL

# try STATEMENTS: "passes", or the number of the error
try() {
    local out
    out=$(echo "$1" | sql f 2>&1) && echo passes || echo "$out" | sed -n 's/^ERROR \([0-9]*\).*/\1/p'
}

seen "insert without a lock" passes "$(try 'INSERT INTO t VALUES (1)')"
echo 'SELECT * FROM counter' | sql f >/dev/null
seen "insert under LOCK TABLES, the counter was read before" 1442 \
    "$(try 'LOCK TABLES t WRITE; INSERT INTO t VALUES (2)')"
echo 'FLUSH TABLES' | sql f
seen "insert under LOCK TABLES, after FLUSH TABLES" passes "$(try 'LOCK TABLES t WRITE; INSERT INTO t VALUES (3)')"
echo 'SELECT * FROM counter' | sql f >/dev/null
seen "and when it was read again" 1442 "$(try 'LOCK TABLES t WRITE; INSERT INTO t VALUES (4)')"
echo 'DROP TRIGGER t_update; SELECT * FROM counter' | sql f >/dev/null
seen "with one trigger" passes "$(try 'LOCK TABLES t WRITE; INSERT INTO t VALUES (5)')"
exit $changed
