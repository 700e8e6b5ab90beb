/* Pages: the keys of a role's or a user's holders, or of those at a place, as the store tells them, some thousands at a
 * time on one of its threads: a guest of answer/reads.c, so it takes the place of a read of keys, leaves as many
 * threads to clients, and is paid for, also when nobody waits for it any more. What it names are hints, so it needs no
 * snapshot: who has left meanwhile is a stranger, or read again by the fill.
 *
 * What may change while a page is away: its job may have ended, or begun again. Then nobody owns it. */
#include "proxy/warm/private.h"

#include "proxy/base/container_of.h"
#include "proxy/rights/facts.h"
#include "proxy/store/store.h"
#include "proxy/table/fill.h"
#include "proxy/table/publisher.h"

#include <assert.h>
#include <stdlib.h>

#define PAGE_KEYS  4096u /* a few milliseconds */
#define PAGE_TRIES 20u

struct page {
    struct read_guest guest;
    struct job *owner; /* NULL: nobody waits for it */
    struct store_holders of;
    bool from_first;
    uint64_t from, first;
    size_t count;
    struct failure failure; /* its code is 0: there is none */
    struct facts_key keys[PAGE_KEYS];
};

/* On a thread. */
static int page_run(struct read_guest *guest, struct store *store, struct failure *failure)
{
    struct page *page = container_of(guest, struct page, guest);
    int code = store == NULL ? failure->code : 0;
    if (code == 0) {
        page->first = store_users_first(store);
        code = store_read_holders(store, &page->of, page->from_first ? page->first : page->from, page->keys,
                                  PAGE_KEYS, &page->count, failure);
    }
    page->failure = code < 0 ? *failure : (struct failure){0};
    page->failure.code = code;
    return code;
}

/* The keys that come are sorted by user and scope, but for those of one user; one that comes twice is resident the
 * second time. False: there is no memory. */
static bool append(struct job *job, const struct page *page)
{
    struct hot_key *keys = realloc(job->keys, (job->count + page->count + 1) * sizeof *keys);
    if (keys == NULL)
        return false;
    job->keys = keys;
    for (size_t i = 0; i < page->count; i++) {
        struct hot_key key = {.user = page->keys[i].user, .scope = facts_key_scope(&page->keys[i]), .frequency = 1};
        const struct hot_key *last = &job->keys[job->count - (job->count > 0)];
        if (job->count == 0 || last->user != key.user || !scope_equal(last->scope, key.scope))
            job->keys[job->count++] = key;
    }
    job->status.total = job->count;
    return true;
}

/* Where the next page begins: with the last user again, of whom there may be more; with the next one, when this page
 * was of one user alone. False: there is no next page. */
static bool go_on(struct job *job, const struct page *page)
{
    const struct publisher *publisher = job->warm->options.publisher;
    if (page->count < PAGE_KEYS || page->of.which == STORE_HOLDERS_USER)
        return false;
    uint64_t last = page->keys[page->count - 1].user;
    uint64_t room = publisher_room(publisher) + publisher_entries(publisher);
    job->cut = job->count > room && job->count > job->warm->options.entries;
    job->from = last + (page->keys[0].user == last);
    job->paged = true;
    return !job->cut && job->from != page->first;
}

static void take(struct job *job, const struct page *page)
{
    bool read = page->failure.code >= 0;
    if (!read || !append(job, page)) {
        job_keep_why(job, read ? "out of memory" : page->failure.text);
        hands_rest(job->warm);
        if (++job->tries >= PAGE_TRIES)
            warm_end(job, WARM_FAILED);
        return;
    }
    job->tries = 0;
    pause_ends(&job->warm->pause);
    if (!go_on(job, page))
        job_has_keys(job);
}

static void on_page(struct read_guest *guest)
{
    struct page *page = container_of(guest, struct page, guest);
    struct job *job = page->owner;
    if (job != NULL) {
        struct warm *warm = job->warm;
        job->page = NULL;
        take(job, page);
        warm_schedule(warm);
    }
    free(page);
}

static struct store_holders holders_of(const struct target *target)
{
    struct store_holders of = {.id = target->id, .scope = target->scope};
    of.which = target->kind == TARGET_ROLE    ? STORE_HOLDERS_ROLE
               : target->kind == TARGET_SCOPE ? STORE_HOLDERS_SCOPE
                                              : STORE_HOLDERS_USER;
    return of;
}

void page_begin(struct job *job)
{
    struct warm *warm = job->warm;
    struct page *page = calloc(1, sizeof *page);
    assert(job->page == NULL);
    if (page == NULL) {
        hands_rest(warm);
        return;
    }
    page->guest.run = page_run;
    page->guest.done = on_page;
    page->owner = job;
    page->of = holders_of(&job->target);
    page->from_first = !job->paged;
    page->from = job->from;
    job->page = page;
    answering_guest_begin(warm->options.answering, &page->guest);
}

void page_leave(struct page *page)
{
    if (page == NULL)
        return;
    page->owner = NULL;
    if (read_guest_withdraw(&page->guest))
        free(page);
}
