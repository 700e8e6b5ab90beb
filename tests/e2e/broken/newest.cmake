# Users whom the warm-up reads together are said to be of a snapshot that was opened after they had been read: the fill
# is fenced from its newest part. What has changed between the two is looked for nowhere.
set(SOURCE proxy/answer/read_job.c)
set(TEXT [==[
    job->too_much = code == PERMTAB_E_LIMIT && job->count > 1;
    return code;
]==])
set(REPLACEMENT [==[
    job->too_much = code == PERMTAB_E_LIMIT && job->count > 1;
    struct log_position at;
    int64_t now;
    if (code < 0 || job->lane != READ_WARM || job->count == 1 || store_snapshot(store, &at, &now, failure) < 0)
        return code;
    store_snapshot_end(store);
    for (size_t i = 0; i < job->count; i++) {
        job->facts[i].revision = at.revision;
        job->facts[i].nonce = at.nonce;
        job->facts[i].now = now;
    }
    return code;
]==])
