# A poll that failed renews the lease all the same: a host that cannot hear the store goes on being believed.
set(SOURCE proxy/feed/feed.c)
set(TEXT [==[
    if (code == 0)
        renew(feed);
    else
]==])
set(REPLACEMENT [==[
    if (code != 0)
        publisher_renew(feed->publisher, news->begun_ns);
    if (code == 0)
        renew(feed);
    else
]==])
