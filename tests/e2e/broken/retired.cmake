# The table that growth has taken the place of keeps its lease, and nothing is written to it any more: who has not left
# it goes on believing what it said on that day.
set(SOURCE proxy/table/grow.c)
set(TEXT [==[
    segment_retire_writer(&old->segment);
]==])
set(REPLACEMENT [==[
    segment_lease_writer(&old->segment, UINT64_MAX / 2);
    segment_retire_writer(&old->segment);
    publisher->other = NULL;
    publisher->other_is = OTHER_NONE;
    publisher->tables++;
    publisher_drop(publisher, old);
]==])
