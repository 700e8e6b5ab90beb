#!/usr/bin/env bash
# pt-online-schema-change 3.2.1 with MariaDB 10.11.19 (Debian 12: percona-toolkit, mariadb-server). With
# --preserve-triggers the tool makes a table's triggers again from information_schema.TRIGGERS.ACTION_STATEMENT.
# MariaDB shows texts there with their escapes resolved: '\\z' comes out as '\z', which as SQL means 'z'. SHOW CREATE
# TRIGGER, and so mysqldump, show the text as it was written. The tool says "Successfully altered", and the trigger
# goes on with another text: here a regular expression that refused names now demands that they end in z.
#
# So a trigger that tools may have to make again has no backslashes in its texts ('[.]' instead of '\\.'), and whoever
# compares triggers reads SHOW CREATE TRIGGER.
. "$(dirname "$0")/lib.sh"
need pt-online-schema-change
start_mariadb
pt-online-schema-change --version

echo "CREATE DATABASE f" | sql mysql
sql f <<'SQL'
CREATE TABLE t (name VARCHAR(20) PRIMARY KEY);
DELIMITER //
CREATE TRIGGER t_check BEFORE INSERT ON t FOR EACH ROW
IF NEW.name NOT REGEXP '^[a-z]+\\z' THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused';
END IF//
SQL

try() {
    echo "$1" | sql f >/dev/null 2>&1 && echo passes || echo refused
}

shown() {
    echo "SHOW CREATE TRIGGER t_check" | sql f | grep -o "REGEXP '[^']*'"
}

seen "written" "REGEXP '^[a-z]+\\\\z'" "$(shown)"
seen "information_schema" "REGEXP '^[a-z]+\\z'" \
    "$(echo "SELECT ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_NAME = 't_check'" | sql f |
        grep -o "REGEXP '[^']*'")"
seen "insert of abc" passes "$(try "INSERT INTO t VALUES ('abc')")"
pt-online-schema-change --alter 'ADD COLUMN note INT' --preserve-triggers --execute \
    "S=$folder/s,u=root,D=f,t=t" 2>&1 | tail -1
seen "written now" "REGEXP '^[a-z]+\\z'" "$(shown)"
seen "insert of def" refused "$(try "INSERT INTO t (name) VALUES ('def')")"
seen "insert of defz" passes "$(try "INSERT INTO t (name) VALUES ('defz')")"
exit $changed
