# A change of an assignment leaves the user's entries alone: what it took away goes on being answered.
set(SOURCE proxy/table/batch.c)
set(TEXT [==[
    case CHANGE_ASSIGNMENT:
        unfold_through(publisher, change->scope, now_ns);
        return publisher_retire_user_now(publisher, change->user, now_ns);
]==])
set(REPLACEMENT [==[
    case CHANGE_ASSIGNMENT:
        return 0;
]==])
