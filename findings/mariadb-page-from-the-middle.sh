#!/usr/bin/env bash
# MariaDB: a page of rows that begins in the middle of a secondary index reads all rows before it. InnoDB's secondary
# indexes end with the primary key, so one on (type, id) is in the order of (type, id, user) as well, and MariaDB knows
# that: it sorts nothing. But for `type = … AND id = … AND user >= … ORDER BY user LIMIT 100` it takes the first two
# columns for the look-up (EXPLAIN: ref) and compares `user` row by row, from the first row of all. So the last of a
# thousand pages reads a thousand times what the first one does. FORCE INDEX with the same index makes a range of it.
#
# Needs Debian's mariadb-server and mariadb-client. Seen with 10.11.19:
#
#     a page of 100 from the middle: ref, not sorted, more than 100000 rows
#     with FORCE INDEX of the same index: range, not sorted, hundreds of rows
. "$(dirname "$0")/lib.sh"
start_mariadb

echo "CREATE DATABASE d" | sql mysql
sql d <<'SQL'
CREATE TABLE holder (user BIGINT UNSIGNED, role BIGINT UNSIGNED, type TINYINT UNSIGNED, id BIGINT UNSIGNED,
    PRIMARY KEY (user, role, type, id), KEY place (type, id)) ENGINE=InnoDB;
INSERT INTO holder SELECT seq, 1, 1, 1 FROM seq_1_to_200000;
ANALYZE TABLE holder;
SQL

# page INDEX: how it is looked for, whether it is sorted, and how many rows were stepped over.
page() {
    local query="SELECT user FROM holder $1 WHERE type = 1 AND id = 1 AND user >= 150001 ORDER BY user LIMIT 100"
    {
        echo "EXPLAIN $query;"
        echo "FLUSH STATUS; SELECT COUNT(*) FROM ($query) page; SHOW SESSION STATUS LIKE 'Handler_read_next';"
    } | sql d | awk '$3 == "holder" { kind = $4; sorted = /filesort/ ? "sorted" : "not sorted" }
        $1 == "Handler_read_next" { rows = $2 }
        END {
            many = rows > 100000 ? "more than 100000 rows" : rows < 1000 ? "hundreds of rows" : rows
            print kind ", " sorted ", " many
        }'
}

seen "a page of 100 from the middle" "ref, not sorted, more than 100000 rows" "$(page "")"
seen "with FORCE INDEX of the same index" "range, not sorted, hundreds of rows" "$(page "FORCE INDEX (place)")"
exit "$changed"
