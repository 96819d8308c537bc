# SPDX-License-Identifier: Apache-2.0
# An index of a Debian package list, kept in memory: every record, who depends on whom, and sums
# for each section. Then each package is looked up with all that it depends on, so the records are
# visited in an order that has nothing to do with the order in which they were read.
# Output: a line per package, a line per section; sorted, the same on every run.

BEGIN {
    RS = ""
    FS = "\n"
    OFS = "\t"
}

# The value of a field of a record, or "".
function field(text, key,    at, rest, end)
{
    at = index("\n" text, "\n" key ": ")
    if (at == 0)
        return ""
    rest = substr(text, at + length(key) + 2)
    end = index(rest, "\n")
    return end == 0 ? rest : substr(rest, 1, end - 1)
}

# The names in "a (>= 1), b | c, d:any": the first alternative of each.
function names(text, into,    count, parts, i)
{
    count = split(text, parts, /, */)
    for (i = 1; i <= count; i++) {
        into[i] = parts[i]
        sub(/[ (:|].*/, "", into[i])
    }
    return count
}

{
    name = field($0, "Package")
    if (name == "" || name in record)
        next
    record[name] = $0
    count = names(field($0, "Depends"), needed)
    for (i = 1; i <= count; i++)
        if (!((needed[i], name) in edge)) {
            edge[needed[i], name] = 1
            dependents[needed[i]]++
        }
}

END {
    PROCINFO["sorted_in"] = "@ind_str_asc"
    for (name in record) {
        text = record[name]
        count = names(field(text, "Depends"), needed)
        bytes = 0
        for (i = 1; i <= count; i++)
            if (needed[i] in record)
                bytes += field(record[needed[i]], "Installed-Size")
        section = field(text, "Section")
        section_count[section]++
        section_bytes[section] += field(text, "Installed-Size")
        print name, field(text, "Version"), section, dependents[name] + 0, count, bytes,
            field(text, "Description")
    }
    for (section in section_count)
        print "section", section, section_count[section], section_bytes[section]
}
