/*
 * glob: the last star takes one byte more whenever what follows it fails.
 *
 * An earlier star never has to: what it left to the later one is a superset of
 * what it would leave with a longer run.
 */
#include "core/glob.h"

bool glob_match(struct bytes glob, struct bytes text)
{
    size_t at = 0, used = 0, star = SIZE_MAX, star_used = 0;
    while (used < text.size) {
        if (at < glob.size && glob.at[at] == '*') {
            star = at++;
            star_used = used;
        } else if (at < glob.size && (glob.at[at] == '?' || glob.at[at] == text.at[used])) {
            at++;
            used++;
        } else if (star != SIZE_MAX) {
            at = star + 1;
            used = ++star_used;
        } else {
            return false;
        }
    }
    while (at < glob.size && glob.at[at] == '*') at++;
    return at == glob.size;
}
