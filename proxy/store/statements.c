/* The migrations that this program brings, compiled in, and the statements in them. The same files work through the
 * plain command-line clients; DELIMITER lines are understood as the mariadb client does. */
#include "proxy/store/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct migration migrations[] = {
#include "migrations.inc"
};

static const char *dialect_name(enum sql_dialect dialect)
{
    return dialect == SQL_SQLITE ? "sqlite" : "mysql";
}

const struct migration *migration_find(enum sql_dialect dialect, unsigned number)
{
    for (size_t i = 0; i < sizeof(migrations) / sizeof(*migrations); i++)
        if (migrations[i].number == number && strcmp(migrations[i].dialect, dialect_name(dialect)) == 0)
            return &migrations[i];
    return NULL;
}

unsigned schema_newest(enum sql_dialect dialect)
{
    unsigned newest = 0;
    while (migration_find(dialect, newest + 1))
        newest++;
    return newest;
}

/* ---- splitting a file into statements ------------------------------------------------------------------------- */

/* The place behind a comment or a quoted text that begins at `at`; NULL when neither does. */
static const char *skip_opaque(const char *at)
{
    if (strncmp(at, "-- ", 3) == 0 || strncmp(at, "--\n", 3) == 0 || *at == '#')
        return at + strcspn(at, "\n");
    if (*at != '\'' && *at != '"' && *at != '`')
        return NULL;
    char quote = *at++;
    while (*at && *at != quote)
        at += *at == '\\' && quote != '`' && at[1] ? 2 : 1;
    return *at ? at + 1 : at;
}

/* Skips white space, comments and DELIMITER lines, and obeys the latter. */
static void skip_between(struct splitter *splitter)
{
    for (;;) {
        const char *at = splitter->at + strspn(splitter->at, " \t\r\n");
        if (strncmp(at, "--", 2) == 0) {
            at += strcspn(at, "\n");
        } else if (strncmp(at, "DELIMITER ", 10) == 0) {
            size_t length = strcspn(at + 10, " \t\r\n");
            snprintf(splitter->delimiter, sizeof(splitter->delimiter), "%.*s", (int)length, at + 10);
            at += 10 + length;
        } else {
            splitter->at = at;
            return;
        }
        splitter->at = at;
    }
}

/* SQLite's triggers hold statements, and end with the END of a line of its own. */
static const char *end_of_trigger(const struct splitter *splitter)
{
    if (strcmp(splitter->delimiter, ";") != 0 || strncmp(splitter->at, "CREATE TRIGGER", 14) != 0)
        return NULL;
    const char *end = strstr(splitter->at, "\nEND;");
    return end ? end + 4 : NULL;
}

int splitter_next(struct splitter *splitter, char **out)
{
    skip_between(splitter);
    const char *start = splitter->at, *at = start;
    size_t length = strlen(splitter->delimiter);
    if (*start == '\0')
        return 0;
    const char *end = end_of_trigger(splitter);
    if (end)
        at = end;
    while (*at && strncmp(at, splitter->delimiter, length) != 0) {
        const char *past = skip_opaque(at);
        at = past ? past : at + 1;
    }
    *out = strndup(start, (size_t)(at - start));
    splitter->at = *at ? at + length : at;
    return *out ? 1 : PERMTAB_E_MEMORY;
}
