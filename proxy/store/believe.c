/* Two checks whether a store may be believed. An SQLite connection goes on reading the files it has open, whatever
 * lies at their path by now; a replica shows the past. Both answer every query without a complaint, so the files
 * and the replication status are looked at separately. */
#include "proxy/store/private.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* The inode of PATH or of PATH-wal and PATH-shm; 0 when there is none. */
static uint64_t inode_of(const char *path, const char *suffix, uint64_t *device)
{
    char name[600];
    struct stat status;
    snprintf(name, sizeof(name), "%s%s", path, suffix);
    if (stat(name, &status) != 0)
        return 0;
    if (device)
        *device = status.st_dev;
    return status.st_ino;
}

int store_files_remember(struct store *store, struct failure *failure)
{
    /* The caller has read something before, so the files beside the database exist when it is in WAL mode. */
    store->file_inode = inode_of(store->path, "", &store->file_device);
    store->wal_inode = inode_of(store->path, "-wal", NULL);
    store->shm_inode = inode_of(store->path, "-shm", NULL);
    if (store->file_inode == 0 || sql_moved(store->sql))
        return failure_set(failure, PERMTAB_E_STORE, "store %s: the file was replaced while it was opened",
                           store->path);
    return 0;
}

int store_files_check(const struct store *store, struct failure *failure)
{
    uint64_t device = 0;
    uint64_t inode = inode_of(store->path, "", &device);
    if (inode != store->file_inode || device != store->file_device)
        return failure_set(failure, PERMTAB_E_SCHEMA, "store %s: the file was replaced or removed",
                           store->path);
    /* Both files stay for as long as a connection is open; removing them cuts us off from other writers. */
    if ((store->wal_inode && inode_of(store->path, "-wal", NULL) != store->wal_inode) ||
        (store->shm_inode && inode_of(store->path, "-shm", NULL) != store->shm_inode))
        return failure_set(failure, PERMTAB_E_SCHEMA,
                           "store %s: its -wal or -shm file was replaced or removed", store->path);
    return 0;
}

bool store_current(const struct store *store)
{
    return store->path == NULL || store_files_check(store, NULL) == 0;
}

/* Whether a SHOW statement returns a row that matters. An account that may not run it learns nothing, which is no
 * failure: 0. A lost connection is one. */
static int shows(struct store *store, const char *text, bool only_running, struct failure *failure)
{
    struct failure own = {0};
    struct sql_statement *st = sql_prepare_once(store->sql, text, &own);
    int rc = st ? 0 : own.code;
    bool found = false;
    while (st && (rc = sql_step(st, &own)) > 0) {
        const char *value = only_running ? sql_column_text(st, 1) : "ON";
        found = found || (strcmp(value, "OFF") != 0 && strcmp(value, "0") != 0);
    }
    if (st)
        sql_discard(st);
    if (rc < 0 && sql_broken(store->sql))
        return failure_set(failure, own.code, "%s", own.text);
    return found;
}

/* A server that copies from another one, or is set up to, shows that one's past. There are three ways to tell,
 * because the best one takes a privilege (SLAVE MONITOR, REPLICATION CLIENT in MySQL): its replication status;
 * whether a replication thread runs, which MariaDB tells everybody; and read_only, which every poll looks at. */
int store_replica_check(struct store *store, struct failure *failure)
{
    int found = shows(store, "SHOW GLOBAL STATUS LIKE 'Slave%running'", true, failure);
    if (found == 0)
        found = shows(store, "SHOW ALL SLAVES STATUS", false, failure); /* MariaDB */
    if (found == 0)
        found = shows(store, "SHOW REPLICA STATUS", false, failure); /* MySQL */
    if (found > 0)
        return failure_set(failure, PERMTAB_E_SCHEMA,
                           "the store's server is a replica of another one: the store must be the primary");
    return found;
}

int store_replicates_rows(struct store *store, struct failure *failure)
{
    if (sql_dialect(store->sql) == SQL_SQLITE)
        return 1;
    int found =
        shows(store, "SHOW GLOBAL VARIABLES WHERE Variable_name = 'binlog_format' AND Value = 'STATEMENT'",
              false, failure);
    return found < 0 ? found : found == 0;
}
