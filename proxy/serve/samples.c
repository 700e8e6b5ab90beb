/* Collecting samples. Clients write them, and may write what they like, so each has a bound:
 *
 *   - a sample counts only when the table has an entry for it: nobody can bring keys in here;
 *   - what is taken in one turn is shared out among the clients that are looked at, so one that claims a flood gets no
 *     more than its share of the keys' memory, and others theirs; what it may keep in the table is table/use.h's;
 *   - a turn looks at so many clients, the next one at the next ones: thousands of clients cost no more time. */
#include "proxy/serve/samples.h"

#include "proxy/answer/answer.h"
#include "proxy/serve/server.h"
#include "proxy/serve/session.h"
#include "proxy/table/use.h"

#define SESSIONS_A_TURN 64u
#define SAMPLES_A_TURN  1600u /* half a millisecond */

static void take(struct server *server, struct session *session, unsigned most)
{
    struct permtab_shm_sample samples[PERMTAB_SHM_FEEDBACK_SAMPLES];
    uint32_t types = publisher_catalogue(server->parts->publisher)->types.count;
    size_t count = feedback_samples(session->feedback, samples, most);
    server->parts->counters->samples += count;
    for (size_t i = 0; i < count; i++) {
        struct scope_key scope = {.id = samples[i].scope_id, .type = samples[i].type};
        if (scope.type < types)
            answering_sampled(server->parts->answering, &session->flow, samples[i].user, scope);
    }
}

void samples_collect(struct server *server)
{
    unsigned sessions = server->session_count < SESSIONS_A_TURN ? server->session_count : SESSIONS_A_TURN;
    publisher_use_turn(server->parts->publisher);
    for (unsigned i = 0; i < sessions; i++) {
        if (!server->sampled)
            publisher_use_grant(server->parts->publisher); /* all have been looked at */
        struct session *session = server->sampled ? server->sampled : server->sessions;
        server->sampled = session->next;
        publisher_use_settle(server->parts->publisher, &session->share);
        if (session->feedback)
            take(server, session, SAMPLES_A_TURN / sessions);
    }
}

void samples_forget(struct server *server, const struct session *session)
{
    if (server->sampled == session)
        server->sampled = session->next;
}
