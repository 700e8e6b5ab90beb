#!/usr/bin/env bash
# sqlite-utils 3.38 with SQLite 3.40.1. `transform` changes a table by copying its rows into another one that then
# takes its name. SQLite drops triggers with their table. sqlite-utils makes the indexes again and keeps STRICT, but
# it makes no trigger again, does not say that they are gone, and exits with 0. Whatever the triggers kept (a log of
# changes, rules) ends there.
#
# So make triggers again after every transform: SELECT sql FROM sqlite_master WHERE type = 'trigger' before it.
. "$(dirname "$0")/lib.sh"
need python3
python3 -m venv "$folder/venv" >/dev/null && "$folder/venv/bin/pip" -q install sqlite-utils==3.38 || exit 77
"$folder/venv/bin/sqlite-utils" --version
python3 -c 'import sqlite3; print("SQLite", sqlite3.sqlite_version)'

count() {
    "$folder/venv/bin/python" -c 'import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])' "$folder/t.db" "$1"
}

"$folder/venv/bin/python" -c 'import sqlite3, sys
sqlite3.connect(sys.argv[1]).executescript("""
    CREATE TABLE log (a);
    CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER) STRICT;
    CREATE INDEX t_a ON t (a);
    CREATE TRIGGER t_delete AFTER DELETE ON t BEGIN INSERT INTO log VALUES (OLD.id); END;
    INSERT INTO t VALUES (1, 1);""")' "$folder/t.db"

triggers="SELECT count(*) FROM sqlite_master WHERE type = 'trigger'"
strict="SELECT sql LIKE '%STRICT%' FROM sqlite_master WHERE name = 't'"
seen "triggers before" 1 "$(count "$triggers")"
seen "STRICT before" 1 "$(count "$strict")"
said=$("$folder/venv/bin/sqlite-utils" transform "$folder/t.db" t --not-null a 2>&1)
seen "exit code" 0 $?
seen "what it says" "" "$said"
seen "indexes after" 1 "$(count "SELECT count(*) FROM sqlite_master WHERE type = 'index'")"
seen "triggers after" 0 "$(count "$triggers")"
seen "STRICT after" 1 "$(count "$strict")"
exit $changed
