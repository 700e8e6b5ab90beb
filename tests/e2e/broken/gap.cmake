# The marker of L2 moves from wherever it stands: the changes in between are left out, and what they made untrue stays.
set(SOURCE conf/redis/l2_advance.lua)
set(TEXT [==[if marker[1] ~= ARGV[2] or marker[2] ~= ARGV[3] or marker[3] ~= ARGV[4] then]==])
set(REPLACEMENT [==[if marker[1] ~= ARGV[2] then]==])
