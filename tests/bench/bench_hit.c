/* Hits for tests/bench/instructions.py, which has callgrind count the instructions of one. Each kind is a function that
 * does nothing else. Every entry of a small table is asked for, so that home buckets, later ones and all slots come in
 * their natural shares.
 *
 *     bench_hit KIND ROUNDS     prints how many hits that were */
#include "tests/bench/measure.h"
#include "tests/bench/rivals.h"
#include "tests/bench/world.h"
#include "tests/bench/world_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES 1000u
#define SETS    10u
#define BATCH   100u
#define NOINLINE __attribute__((noinline))

struct asker {
    struct world world;
    struct permtab *table;
    permtab_type type;
    permtab_perm permissions[QUESTION_PERMISSIONS];
    struct rival_sets sets;
    struct rival_hash hash;
    struct permtab_query queries[BATCH];
    enum permtab_decision decisions[BATCH];
};

int hit_check(struct permtab *table, uint64_t user, permtab_scope scope, permtab_perm perm);
int hit_peek(struct permtab *table, uint64_t user, permtab_scope scope, permtab_perm perm);
int hit_view(const struct permtab_view *view, permtab_perm perm);
int hit_many(struct asker *asker);
int hit_hash(const struct rival_hash *hash, uint64_t user, uint64_t scope, uint32_t permission);

NOINLINE int hit_check(struct permtab *table, uint64_t user, permtab_scope scope, permtab_perm perm)
{
    return permtab_check(table, user, scope, perm);
}

NOINLINE int hit_peek(struct permtab *table, uint64_t user, permtab_scope scope, permtab_perm perm)
{
    return permtab_peek(table, user, scope, perm);
}

NOINLINE int hit_view(const struct permtab_view *view, permtab_perm perm)
{
    return permtab_view_has(view, perm, false);
}

NOINLINE int hit_many(struct asker *asker)
{
    return permtab_check_many(asker->table, asker->queries, BATCH, asker->decisions);
}

NOINLINE int hit_hash(const struct rival_hash *hash, uint64_t user, uint64_t scope, uint32_t permission)
{
    struct question question = {.user = user, .scope = scope, .permission = permission};
    return (int)rival_hash_ask(hash, &question);
}

/* ---- one round: every entry, by the kind's name --------------------------------------------------------------- */

static struct question question_of(uint64_t index)
{
    uint64_t user = question_user(index);
    return (struct question){user, question_scope(user), (uint32_t)(index % QUESTION_PERMISSIONS)};
}

static void expect(int answer, const struct question *question)
{
    int truth = (int)((question_bits(question_set(question->user, SETS)) >> question->permission) & 1u);
    if (answer != truth)
        bench_die("user %llu: %d, the truth is %d", (unsigned long long)question->user, answer, truth);
}

static uint64_t round_of_singles(struct asker *asker, const char *kind)
{
    for (uint64_t index = 0; index < ENTRIES; index++) {
        struct question question = question_of(index);
        permtab_scope scope = permtab_at(asker->type, question.scope);
        permtab_perm perm = asker->permissions[question.permission];
        int answer = -1;
        if (strcmp(kind, "hash") == 0)
            answer = hit_hash(&asker->hash, question.user, question.scope, question.permission);
        else if (strcmp(kind, "peek") == 0)
            answer = hit_peek(asker->table, question.user, scope, perm);
        else
            answer = hit_check(asker->table, question.user, scope, perm);
        expect(answer, &question);
    }
    return ENTRIES;
}

static uint64_t round_of_views(struct asker *asker)
{
    struct permtab_view view;
    struct question question = question_of(0);
    permtab_scope scope = permtab_at(asker->type, question.scope);
    if (permtab_view_get(asker->table, question.user, scope, &view) < 0)
        bench_die("no view");
    for (uint32_t bit = 0; bit < QUESTION_PERMISSIONS; bit++) {
        question.permission = bit;
        expect(hit_view(&view, asker->permissions[bit]), &question);
    }
    return QUESTION_PERMISSIONS;
}

static uint64_t round_of_batches(struct asker *asker)
{
    for (uint64_t first = 0; first < ENTRIES; first += BATCH) {
        for (uint64_t i = 0; i < BATCH; i++) {
            struct question question = question_of(first + i);
            asker->queries[i] = (struct permtab_query){.user = question.user,
                                                       .scope = permtab_at(asker->type, question.scope),
                                                       .perm = asker->permissions[question.permission]};
        }
        if (hit_many(asker) != (int)BATCH)
            bench_die("the table does not answer");
        for (uint64_t i = 0; i < BATCH; i++) {
            struct question question = question_of(first + i);
            expect((int)asker->decisions[i], &question);
        }
    }
    return ENTRIES;
}

static uint64_t round_of(struct asker *asker, const char *kind)
{
    if (strcmp(kind, "many") == 0)
        return round_of_batches(asker);
    return strcmp(kind, "view") == 0 ? round_of_views(asker) : round_of_singles(asker, kind);
}

/* ---- the world --------------------------------------------------------------------------------------------------- */

static void must(int code, const char *what)
{
    if (code < 0)
        bench_die("%s: %s", what, permtab_strerror(code));
}

static void asker_start(struct asker *asker, bool folded)
{
    const struct world_options options = {.entries = ENTRIES, .sets = SETS, .folded = folded};
    const struct permtab_options patient = {.size = sizeof patient, .check_ms = 5000, .server_uid = -1};
    world_start(&asker->world, &options);
    must(permtab_open(&asker->table, asker->world.path, &patient), "permtab_open");
    must(permtab_scope_type(asker->table, folded ? "channel" : "server", &asker->type), "the scope's type");
    for (uint32_t bit = 0; bit < QUESTION_PERMISSIONS; bit++) {
        char name[WORLD_NAME_SIZE];
        world_permission_name(bit, name);
        must(permtab_permission(asker->table, name, &asker->permissions[bit]), name);
    }
    rival_sets_init(&asker->sets, SETS);
    rival_hash_init(&asker->hash, ENTRIES, &asker->sets, false);
}

static void asker_stop(struct asker *asker)
{
    rival_hash_fini(&asker->hash);
    rival_sets_fini(&asker->sets);
    permtab_close(asker->table);
    world_stop(&asker->world);
}

int main(int count, char **arguments)
{
    static const char *const kinds[] = {"check", "peek", "folded", "view", "many", "hash"};
    struct asker *asker = bench_memory(sizeof *asker);
    uint64_t calls = 0, rounds = count == 3 ? measure_number(arguments[2]) : 0;
    size_t kind = 0, all = sizeof kinds / sizeof kinds[0];
    while (kind < all && (count != 3 || strcmp(kinds[kind], arguments[1]) != 0))
        kind++;
    if (kind == all)
        bench_die("usage: bench_hit check|peek|folded|view|many|hash ROUNDS");
    asker_start(asker, strcmp(kinds[kind], "folded") == 0);
    for (uint64_t round = 0; round < rounds; round++)
        calls += round_of(asker, kinds[kind]);
    printf("%llu\n", (unsigned long long)calls);
    asker_stop(asker);
    free(asker);
    return 0;
}
