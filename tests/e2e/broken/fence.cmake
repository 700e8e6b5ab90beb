# Nobody asks whether what a fill read has changed since: old rows that arrive late are published.
set(SOURCE proxy/table/history.c)
set(TEXT [==[if (seen == HISTORY_SCAN || touched(change, facts))]==])
set(REPLACEMENT [==[if (seen == HISTORY_SCAN || (touched(change, facts) && facts == NULL))]==])
