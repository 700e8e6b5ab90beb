/* The parts of answering, which answer.c makes and ends. */
#ifndef PERMTAB_ANSWER_PRIVATE_H
#define PERMTAB_ANSWER_PRIVATE_H

#include "proxy/answer/answer.h"
#include "proxy/answer/places.h"
#include "proxy/answer/strangers.h"

struct answering {
    struct known_users known_users;
    struct known_users_read *known_users_read; /* NULL: no user counts as a stranger */
    struct strangers strangers;
    struct places places;
    struct fetches *fetches;
    struct fills *fills;
    struct ask_queue *asks;
    struct slices *slices;
};

#endif
