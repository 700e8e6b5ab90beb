# What a client has counted since it was last looked at is lost when it goes. For the soak: nothing that is answered is
# wrong.
set(SOURCE proxy/serve/session.c)
set(TEXT [==[
        feedback_collect(session->feedback, clock_ns(), server->parts->counters);
]==])
set(REPLACEMENT [==[
        session->feedback->read_at = clock_ns();
]==])
