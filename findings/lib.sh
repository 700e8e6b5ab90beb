# The parts that the scripts share: a temporary folder, a private MariaDB in it, and words for the outcome. Sourced.
set -u
folder=$(mktemp -d)
server=
end() {
    [ -z "$server" ] || { kill "$server"; wait "$server" 2>/dev/null; }
    rm -rf "$folder"
}
trap end EXIT

need() {
    for program in "$@"; do
        command -v "$program" >/dev/null || { echo "needs $program"; exit 77; }
    done
}

# A server of our own on a private socket; `sql DATABASE` is its client, which reads statements from standard input.
start_mariadb() {
    need mariadbd mariadb mariadb-install-db
    mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$folder/data" \
        --auth-root-authentication-method=normal >"$folder/install.log" 2>&1 || { cat "$folder/install.log"; exit 77; }
    mariadbd --no-defaults --user="$(id -un)" --datadir="$folder/data" --socket="$folder/s" --skip-networking \
        >"$folder/server.log" 2>&1 &
    server=$!
    for _ in $(seq 300); do
        if echo "SELECT 1" | sql mysql >/dev/null 2>&1; then
            echo "MariaDB $(echo 'SELECT VERSION()' | sql mysql)"
            return
        fi
        sleep 0.2
    done
    cat "$folder/server.log"
    exit 77
}

sql() {
    mariadb --no-defaults --socket="$folder/s" --user=root --skip-column-names --raw "$1"
}

# seen WHAT EXPECTED GOT
changed=0
seen() {
    echo "$1: $3"
    [ "$2" = "$3" ] || { echo "    it was: $2"; changed=1; }
}
