# Of a session that has ended the page of the client's counts stays open, and its input buffer is not freed. For the
# soak: nothing that is answered is wrong.
set(SOURCE proxy/serve/session.c)
set(TEXT [==[
    feedback_free(session->feedback);
    if (session->readable)
        event_free(session->readable);
    if (session->writable)
        event_free(session->writable);
    free(session->input);
]==])
set(REPLACEMENT [==[
    if (session->readable)
        event_free(session->readable);
    if (session->writable)
        event_free(session->writable);
]==])
