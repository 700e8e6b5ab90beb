#!/usr/bin/env bash
# What the log's trigger costs an INSERT of many assignments on MariaDB, and what other forms of it would: how long the
# statement takes with each, forms taking turns. docs/PERFORMANCE.md says which of them would be safe. Needs
# PERMTAB_TEST_MYSQL, with an account that may create databases; makes and drops one, named like its own with _cost.
#
#     tests/bench/log_cost.sh [ROUNDS] [ROWS]        prints medians of milliseconds, and how they stand to the log's
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds="${1:-5}" rows="${2:-25000}"
rest="${PERMTAB_TEST_MYSQL#mysql://}"
name="${rest#*/}"
name="${name%%\?*}_cost"
folder="$(mktemp -d /tmp/permtab-log-cost-XXXXXX)"
client() { mariadb --no-defaults --user="${rest%%@*}" --socket="${rest#*socket=}" --skip-column-names "$@"; }
finish() {
    client -e "DROP DATABASE IF EXISTS \`$name\`" || true
    rm -rf "$folder"
}
trap finish EXIT

# trigger BODY: the body in the place of the log's.
trigger() {
    printf '%s\n' "DROP TRIGGER permtab_assignment_insert;" "DELIMITER //" \
        "CREATE TRIGGER permtab_assignment_insert AFTER INSERT ON permtab_assignment FOR EACH ROW" \
        "BEGIN" "$1" "END//" "DELIMITER ;"
}

forms="log none empty select number entry reference bulk"
form() {
    case "$1" in
    log) ;;                       # as it is: the counter, and a row of the log
    none | bulk) echo "DROP TRIGGER permtab_assignment_insert;" ;;
    empty) trigger "SET @number = 1;" ;;
    select) trigger "SELECT revision INTO @number FROM permtab_counter WHERE one = 1 FOR UPDATE;" ;;
    number)                       # the shortest row that there is
        echo "CREATE TABLE number (n BIGINT UNSIGNED NOT NULL PRIMARY KEY) ENGINE = InnoDB;"
        trigger "SET @number = @number + 1; INSERT INTO number VALUES (@number);" ;;
    entry)                        # the log's row alone
        trigger "SET @number = @number + 1;
            INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
                VALUES (@number, 7, NEW.user_id, NEW.role_id, NEW.scope_type, NEW.scope_id);" ;;
    reference)                    # the engine looks whether a row is there, which is no statement
        echo "CREATE TABLE open_bulk (id BIGINT UNSIGNED NOT NULL PRIMARY KEY) ENGINE = InnoDB;"
        echo "INSERT INTO open_bulk VALUES (1);"
        echo "ALTER TABLE permtab_assignment ADD bulk BIGINT UNSIGNED INVISIBLE DEFAULT 1,"
        echo "    ADD FOREIGN KEY (bulk) REFERENCES open_bulk (id);"
        trigger "IF NEW.bulk IS NULL OR @@foreign_key_checks = 0 THEN SET @number = 1; END IF;" ;;
    esac
}

statements() {
    echo "INSERT INTO permtab_assignment SELECT seq, 300, 1, 2, NULL FROM seq_1_to_$rows;"
    [ "$1" != bulk ] || # what the trigger would have written, in one statement behind it
        echo "INSERT INTO permtab_change (revision, kind, user_id, role_id, scope_type, scope_id)
            SELECT 1000 + seq, 7, seq, 300, 1, 2 FROM seq_1_to_$rows;"
}

one() {
    client -e "DROP DATABASE IF EXISTS \`$name\`; CREATE DATABASE \`$name\`"
    cat conf/schema/mysql/*.sql - <<'SQL' | client "$name"
INSERT INTO permtab_scope_type VALUES (1, 'server');
INSERT INTO permtab_scope VALUES (1, 2, 0, 0, NULL);
INSERT INTO permtab_role VALUES (300, '', 1, 2, 0, 1);
SQL
    form "$1" | client "$name"
    {
        echo "START TRANSACTION; DO (SELECT revision FROM permtab_counter WHERE one = 1 FOR UPDATE);"
        echo "SET @number = 1000, @from = SYSDATE(6);"
        statements "$1"
        echo "SELECT TIMESTAMPDIFF(MICROSECOND, @from, SYSDATE(6)) DIV 1000; COMMIT;"
    } | client "$name" >>"$folder/$1"
}

median() { sort -n "$1" | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

for _ in $(seq "$rounds"); do
    for each in $forms; do one "$each"; done
done
whole="$(median "$folder/log")"
for each in $forms; do
    awk -v name="$each" -v ms="$(median "$folder/$each")" -v whole="$whole" \
        'BEGIN { printf "%-10s %7d ms  %.2f\n", name, ms, ms / whole }'
done
