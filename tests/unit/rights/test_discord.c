/* Discord's permissions as a permtab policy, against the algorithm that Discord publishes (Developer Documentation,
 * "Permissions", the pseudo-code of compute_base_permissions and compute_overwrites), written out here on plain 64-bit
 * masks with Discord's own bit positions. 40 guilds, every member in every channel, all 52 permissions.
 *
 * A guild is a server; @everyone is a default role that has the guild's id; ADMINISTRATOR grants all. */
#include "proxy/rights/explain.h"
#include "tests/support/memory_policy.h"
#include "tests/support/random.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GUILDS        40u
#define USERS         300u
#define ROLES_MOST    16u
#define MEMBERS_MOST  30u
#define CHANNELS_MOST 14u
#define ROWS_MOST     8u
#define ADMINISTRATOR (1ull << 3)

static const struct {
    unsigned shift;
    const char *name;
} permissions[] = {
    {0, "create_instant_invite"},
    {1, "kick_members"},
    {2, "ban_members"},
    {3, "administrator"},
    {4, "manage_channels"},
    {5, "manage_guild"},
    {6, "add_reactions"},
    {7, "view_audit_log"},
    {8, "priority_speaker"},
    {9, "stream"},
    {10, "view_channel"},
    {11, "send_messages"},
    {12, "send_tts_messages"},
    {13, "manage_messages"},
    {14, "embed_links"},
    {15, "attach_files"},
    {16, "read_message_history"},
    {17, "mention_everyone"},
    {18, "use_external_emojis"},
    {19, "view_guild_insights"},
    {20, "connect"},
    {21, "speak"},
    {22, "mute_members"},
    {23, "deafen_members"},
    {24, "move_members"},
    {25, "use_vad"},
    {26, "change_nickname"},
    {27, "manage_nicknames"},
    {28, "manage_roles"},
    {29, "manage_webhooks"},
    {30, "manage_guild_expressions"},
    {31, "use_application_commands"},
    {32, "request_to_speak"},
    {33, "manage_events"},
    {34, "manage_threads"},
    {35, "create_public_threads"},
    {36, "create_private_threads"},
    {37, "use_external_stickers"},
    {38, "send_messages_in_threads"},
    {39, "use_embedded_activities"},
    {40, "moderate_members"},
    {41, "view_creator_monetization_analytics"},
    {42, "use_soundboard"},
    {43, "create_guild_expressions"},
    {44, "create_events"},
    {45, "use_external_sounds"},
    {46, "send_voice_messages"},
    {48, "set_voice_channel_status"},
    {49, "send_polls"},
    {50, "use_external_apps"},
    {51, "pin_messages"},
    {52, "bypass_slowmode"},
};

#define PERMISSION_COUNT (sizeof permissions / sizeof *permissions)

_Static_assert(PERMISSION_COUNT == 52, "Discord has 52 permissions");

/* ---- guilds ---------------------------------------------------------------------------------------------------- */

struct role_row {
    uint64_t id, permissions;
};

struct overwrite_row {
    uint64_t id, allow, deny; /* of a role or a member: ids of both kinds are snowflakes and never equal */
    bool of_member;
};

struct member {
    uint64_t user;
    uint64_t roles[ROLES_MOST]; /* without @everyone */
    size_t role_count;
};

struct channel {
    uint64_t id;
    struct overwrite_row overwrites[ROWS_MOST];
    size_t overwrite_count;
};

struct guild {
    uint64_t id, owner;
    struct role_row roles[ROLES_MOST]; /* the first is @everyone */
    size_t role_count;
    struct member members[MEMBERS_MOST];
    size_t member_count;
    struct channel channels[CHANNELS_MOST];
    size_t channel_count;
};

struct world {
    struct random random;
    uint64_t clock; /* milliseconds since Discord's epoch */
    uint64_t users[USERS];
    struct guild guilds[GUILDS];
};

/* 42 bits of time, 10 of worker and process, 12 of sequence. */
static uint64_t snowflake(struct world *world)
{
    world->clock += 1 + random_below(&world->random, 100000000);
    return world->clock << 22 | random_below(&world->random, 1u << 22);
}

static uint64_t all_permissions(void)
{
    uint64_t all = 0;
    for (size_t i = 0; i < PERMISSION_COUNT; i++)
        all |= 1ull << permissions[i].shift;
    return all;
}

/* Each of Discord's bits with that chance, ADMINISTRATOR never. */
static uint64_t some(struct world *world, uint32_t percent)
{
    uint64_t mask = 0;
    for (size_t i = 0; i < PERMISSION_COUNT; i++)
        if (random_chance(&world->random, percent))
            mask |= 1ull << permissions[i].shift;
    return mask & ~ADMINISTRATOR;
}

static void make_members(struct world *world, struct guild *guild)
{
    guild->member_count = 5 + random_below(&world->random, MEMBERS_MOST - 4);
    uint64_t first = random_below(&world->random, USERS); /* a user may be in several guilds */
    for (size_t i = 0; i < guild->member_count; i++) {
        struct member *member = &guild->members[i];
        member->user = world->users[(first + i) % USERS];
        for (size_t j = 1; j < guild->role_count; j++)
            if (random_chance(&world->random, 25))
                member->roles[member->role_count++] = guild->roles[j].id;
    }
    guild->owner = guild->members[random_below(&world->random, guild->member_count)].user;
}

static void make_overwrites(struct world *world, const struct guild *guild, struct channel *channel)
{
    bool of_everyone = random_chance(&world->random, 50);
    channel->overwrite_count = random_below(&world->random, ROWS_MOST + 1);
    for (size_t i = 0; i < channel->overwrite_count; i++) {
        struct overwrite_row *row = &channel->overwrites[i];
        row->of_member = random_chance(&world->random, 30);
        if (row->of_member)
            row->id = guild->members[(i * 3) % guild->member_count].user;
        else
            row->id = guild->roles[(i + (of_everyone ? 0 : 1)) % guild->role_count].id;
        row->deny = some(world, 25);
        row->allow = some(world, 25) & ~row->deny;
    }
    /* Discord has one row a role or member: later doubles go. */
    for (size_t i = 0; i < channel->overwrite_count; i++)
        for (size_t j = channel->overwrite_count; j-- > i + 1;)
            if (channel->overwrites[j].id == channel->overwrites[i].id)
                channel->overwrites[j] = channel->overwrites[--channel->overwrite_count];
}

static void make_guild(struct world *world, struct guild *guild)
{
    guild->id = snowflake(world);
    guild->role_count = 3 + random_below(&world->random, ROLES_MOST - 3);
    guild->roles[0] = (struct role_row){guild->id, some(world, 40)};
    for (size_t i = 1; i < guild->role_count; i++) {
        guild->roles[i].id = snowflake(world);
        guild->roles[i].permissions = some(world, 12);
    }
    guild->roles[guild->role_count - 1].permissions |= random_chance(&world->random, 50) ? ADMINISTRATOR : 0;
    make_members(world, guild);
    guild->channel_count = 2 + random_below(&world->random, CHANNELS_MOST - 1);
    for (size_t i = 0; i < guild->channel_count; i++) {
        guild->channels[i].id = snowflake(world);
        make_overwrites(world, guild, &guild->channels[i]);
    }
}

/* ---- the published algorithm ----------------------------------------------------------------------------------- */

static uint64_t role_permissions(const struct guild *guild, uint64_t id)
{
    for (size_t i = 0; i < guild->role_count; i++)
        if (guild->roles[i].id == id)
            return guild->roles[i].permissions;
    fail_msg("no role %" PRIu64, id);
    return 0;
}

static uint64_t compute_base_permissions(const struct member *member, const struct guild *guild)
{
    if (guild->owner == member->user)
        return all_permissions();
    uint64_t result = role_permissions(guild, guild->id);
    for (size_t i = 0; i < member->role_count; i++)
        result |= role_permissions(guild, member->roles[i]);
    if ((result & ADMINISTRATOR) == ADMINISTRATOR)
        return all_permissions();
    return result;
}

static const struct overwrite_row *overwrite_of(const struct channel *channel, uint64_t id)
{
    for (size_t i = 0; i < channel->overwrite_count; i++)
        if (channel->overwrites[i].id == id)
            return &channel->overwrites[i];
    return NULL;
}

static uint64_t compute_overwrites(uint64_t base, const struct member *member, const struct guild *guild,
                                   const struct channel *channel)
{
    if ((base & ADMINISTRATOR) == ADMINISTRATOR)
        return all_permissions();
    uint64_t result = base;
    const struct overwrite_row *everyone = overwrite_of(channel, guild->id);
    if (everyone != NULL) {
        result &= ~everyone->deny;
        result |= everyone->allow;
    }
    uint64_t allow = 0, deny = 0;
    for (size_t i = 0; i < member->role_count; i++) {
        const struct overwrite_row *row = overwrite_of(channel, member->roles[i]);
        if (row != NULL) {
            allow |= row->allow;
            deny |= row->deny;
        }
    }
    result &= ~deny;
    result |= allow;
    const struct overwrite_row *own = overwrite_of(channel, member->user);
    if (own != NULL) {
        result &= ~own->deny;
        result |= own->allow;
    }
    return result;
}

/* ---- the same as a policy -------------------------------------------------------------------------------------- */

static struct scope_key server(const struct guild *guild)
{
    return (struct scope_key){.id = guild->id, .type = 1};
}

static struct scope_key place(const struct channel *channel)
{
    return (struct scope_key){.id = channel->id, .type = 3};
}

static void add_overwrite(struct memory_policy *policy, const struct channel *channel,
                          const struct overwrite_row *row)
{
    enum overwrite_subject subject = row->of_member ? OVERWRITE_USER : OVERWRITE_ROLE;
    for (uint32_t bit = 0; bit < PERMISSION_COUNT; bit++) {
        if ((row->allow >> permissions[bit].shift & 1) != 0)
            memory_overwrite(policy, place(channel), subject, row->id, bit, true);
        if ((row->deny >> permissions[bit].shift & 1) != 0)
            memory_overwrite(policy, place(channel), subject, row->id, bit, false);
    }
}

static void add_guild(struct memory_policy *policy, const struct guild *guild)
{
    memory_scope(policy, server(guild), (struct scope_key){0}, &guild->owner);
    for (size_t i = 0; i < guild->role_count; i++) {
        memory_role(policy, guild->roles[i].id, i == 0 ? "@everyone" : "role", server(guild), i == 0, true);
        for (uint32_t bit = 0; bit < PERMISSION_COUNT; bit++)
            if ((guild->roles[i].permissions >> permissions[bit].shift & 1) != 0)
                memory_grant(policy, guild->roles[i].id, GRANT_ALLOW, bit);
    }
    for (size_t i = 0; i < guild->member_count; i++)
        for (size_t j = 0; j < guild->members[i].role_count; j++)
            memory_assign(policy, guild->members[i].user, guild->members[i].roles[j], server(guild),
                          FACTS_NEVER);
    for (size_t i = 0; i < guild->channel_count; i++) {
        memory_scope(policy, place(&guild->channels[i]), server(guild), NULL);
        for (size_t j = 0; j < guild->channels[i].overwrite_count; j++)
            add_overwrite(policy, &guild->channels[i], &guild->channels[i].overwrites[j]);
    }
}

/* ---- comparing ------------------------------------------------------------------------------------------------- */

struct comparison {
    struct memory_policy policy;
    struct catalogue catalogue;
    uint64_t questions, allowed, everything, changed;
};

static void compare(struct comparison *comparison, uint64_t user, struct scope_key scope, uint64_t expected)
{
    struct facts facts;
    struct inputs inputs;
    uint64_t any = 0, own = 0, actual = 0;
    memory_facts(&comparison->policy, user, scope, 0, &facts);
    assert_return_code(inputs_build(&inputs, &facts, 0, role_list_find, &facts.roles, NULL), 0);
    assert_return_code(resolve(&comparison->catalogue, &inputs, role_list_find, &facts.roles, &any, &own), 0);
    assert_true(any == own);
    for (uint32_t bit = 0; bit < PERMISSION_COUNT; bit++)
        actual |= (any >> bit & 1) << permissions[bit].shift;
    if (actual != expected)
        fail_msg("user %" PRIu64 " at %" PRIu64 ": %" PRIx64 " instead of %" PRIx64, user, scope.id, actual,
                 expected);
    comparison->questions++;
    comparison->allowed += (uint64_t)__builtin_popcountll(actual);
    comparison->everything += actual == all_permissions();
    inputs_fini(&inputs);
    facts_fini(&facts);
}

static void compare_guild(struct comparison *comparison, const struct guild *guild)
{
    for (size_t i = 0; i < guild->member_count; i++) {
        const struct member *member = &guild->members[i];
        uint64_t base = compute_base_permissions(member, guild);
        compare(comparison, member->user, server(guild), base);
        for (size_t j = 0; j < guild->channel_count; j++) {
            uint64_t there = compute_overwrites(base, member, guild, &guild->channels[j]);
            compare(comparison, member->user, place(&guild->channels[j]), there);
            comparison->changed += there != base;
        }
    }
}

static void test_published_algorithm(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct comparison comparison = {.questions = 0};
    (void)state;
    assert_non_null(world);
    world->random.state = 20150513;
    world->clock = 41944705000; /* the documentation's example snowflake is of that time */
    for (size_t i = 0; i < USERS; i++)
        world->users[i] = snowflake(world);
    memory_policy_init(&comparison.policy);
    for (size_t i = 0; i < PERMISSION_COUNT; i++)
        assert_int_equal(memory_permission(&comparison.policy, permissions[i].name), i);
    comparison.policy.permissions.items[3].grants_all = true;
    for (size_t i = 0; i < GUILDS; i++) {
        make_guild(world, &world->guilds[i]);
        add_guild(&comparison.policy, &world->guilds[i]);
    }
    memory_catalogue(&comparison.policy, 1, &comparison.catalogue);
    for (size_t i = 0; i < GUILDS; i++)
        compare_guild(&comparison, &world->guilds[i]);
    print_message("%" PRIu64 " members in channels, %" PRIu64 " permissions allowed, %" PRIu64
                  " times everything, %" PRIu64 " changed by overwrites\n",
                  comparison.questions, comparison.allowed, comparison.everything, comparison.changed);
    assert_true(comparison.questions > 4000 && comparison.changed > comparison.questions / 4);
    assert_true(comparison.everything > 100 && comparison.everything < comparison.questions / 2);
    catalogue_fini(&comparison.catalogue);
    memory_policy_fini(&comparison.policy);
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_published_algorithm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
