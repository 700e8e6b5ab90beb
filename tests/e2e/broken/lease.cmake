# A poll that failed renews the lease all the same: a host that cannot hear the store goes on being believed.
set(SOURCE proxy/feed.c)
set(TEXT [==[
    if (code == 0)
        publish_renew(feed->publish, news->begun_ns);
]==])
set(REPLACEMENT [==[
    publish_renew(feed->publish, news->begun_ns);
]==])
