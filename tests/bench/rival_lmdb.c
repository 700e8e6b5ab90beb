/* LMDB: a B+tree in a shared read-only mapping, the nearest thing off the shelf. Keys of 24 bytes, values of 4. The
 * read transaction is kept, which is its fastest way and means that it never sees a change. */
#include "tests/bench/measure.h"
#include "tests/bench/rivals.h"

#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

struct rival_lmdb {
    MDB_env *environment;
    MDB_txn *reading;
    MDB_dbi database;
    const struct rival_sets *sets;
};

struct lmdb_key {
    uint64_t user, scope, type;
};

static void must(int code, const char *what)
{
    if (code != 0)
        bench_die("LMDB: %s: %s", what, mdb_strerror(code));
}

static void fill(struct rival_lmdb *lmdb, uint64_t entries)
{
    MDB_txn *writing;
    must(mdb_txn_begin(lmdb->environment, NULL, 0, &writing), "begin");
    must(mdb_dbi_open(writing, NULL, MDB_CREATE, &lmdb->database), "open the database");
    for (uint64_t index = 0; index < entries; index++) {
        uint64_t user = question_user(index);
        struct lmdb_key key = {user, question_scope(user), QUESTION_TYPE};
        uint32_t set = question_set(user, lmdb->sets->count);
        MDB_val key_value = {sizeof key, &key}, value = {sizeof set, &set};
        must(mdb_put(writing, lmdb->database, &key_value, &value, 0), "put");
    }
    must(mdb_txn_commit(writing), "commit");
}

struct rival_lmdb *rival_lmdb_new(const char *folder, uint64_t entries, const struct rival_sets *sets)
{
    struct rival_lmdb *lmdb = bench_memory(sizeof *lmdb);
    lmdb->sets = sets;
    must(mdb_env_create(&lmdb->environment), "create");
    must(mdb_env_set_mapsize(lmdb->environment, (size_t)64 * 1024 * 1024 + entries * 256), "map size");
    must(mdb_env_open(lmdb->environment, folder, MDB_NOSYNC | MDB_NOTLS, 0600), "open");
    fill(lmdb, entries);
    must(mdb_txn_begin(lmdb->environment, NULL, MDB_RDONLY, &lmdb->reading), "begin to read");
    return lmdb;
}

void rival_lmdb_free(struct rival_lmdb *lmdb)
{
    mdb_txn_abort(lmdb->reading);
    mdb_env_close(lmdb->environment);
    free(lmdb);
}

uint64_t rival_lmdb_ask(struct rival_lmdb *lmdb, const struct question *question)
{
    struct lmdb_key key = {question->user, question->scope, QUESTION_TYPE};
    MDB_val key_value = {sizeof key, &key}, value;
    uint32_t set;
    if (mdb_get(lmdb->reading, lmdb->database, &key_value, &value) != 0 || value.mv_size != sizeof set)
        return UINT64_MAX;
    memcpy(&set, value.mv_data, sizeof set);
    return rival_bit(lmdb->sets, set, question->permission);
}
