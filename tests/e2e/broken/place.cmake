# What is kept of a place is believed to be of the revision at which a user's rows were read there: nobody asks whether
# it has changed between the two.
set(SOURCE proxy/table/history.c)
set(TEXT [==[(facts->place_revision == 0 ||]==])
set(REPLACEMENT [==[(facts->place_revision != 1 ||]==])
