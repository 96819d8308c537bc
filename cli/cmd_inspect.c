/* SPDX-License-Identifier: Apache-2.0 */
/* inspect NAME: all that is known of one instance, with live figures while it runs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/follow.h"
#include "cli/histogram.h"
#include "cli/print.h"
#include "cli/query.h"
#include "cli/words.h"
#include "lib/base/check.h"
#include "lib/sys/sys.h"

#define HISTOGRAMS_MAX 32u

/* Names of lib/wire/gueststats.h for people; others are shown as they are. */
static const struct {
    const char *prefix;
    const char *label;
} latency_labels[] = {{"fault_remote", "Far fault"},  {"stage_entry", "- entry"},
                      {"stage_claim", "- claim"},     {"stage_queue", "- queue"},
                      {"stage_device", "- device"},   {"stage_publish", "- publish"},
                      {"device_read", "Device read"}, {"stall_direct", "Fault stall"}};

/* The histograms that are there: the known ones in that order, then the others. */
struct histograms {
    uint32_t count;
    char prefixes[HISTOGRAMS_MAX][HISTOGRAM_NAME_BYTES];
};

static void add_histogram(struct histograms *all, const char *prefix)
{
    for (uint32_t i = 0; i < all->count; i++) {
        if (strcmp(all->prefixes[i], prefix) == 0) {
            return;
        }
    }
    if (all->count < HISTOGRAMS_MAX) {
        (void)snprintf(all->prefixes[all->count++], HISTOGRAM_NAME_BYTES, "%s", prefix);
    }
}

static void find_histograms(struct histograms *all, const Dilos__InstanceLive *live)
{
    struct histogram h;
    char prefix[HISTOGRAM_NAME_BYTES];
    all->count = 0;
    for (size_t i = 0; i < ARRAY_LEN(latency_labels); i++) {
        histogram_collect(&h, latency_labels[i].prefix, live->counters, live->n_counters);
        if (h.count > 0) {
            add_histogram(all, latency_labels[i].prefix);
        }
    }
    for (size_t i = 0; i < live->n_counters; i++) {
        if (histogram_prefix(live->counters[i]->name, prefix)) {
            add_histogram(all, prefix);
        }
    }
}

static const char *latency_label(const char *prefix)
{
    for (size_t i = 0; i < ARRAY_LEN(latency_labels); i++) {
        if (strcmp(latency_labels[i].prefix, prefix) == 0) {
            return latency_labels[i].label;
        }
    }
    return prefix;
}

static uint64_t counter(const Dilos__InstanceLive *live, const char *name)
{
    for (size_t i = 0; i < live->n_counters; i++) {
        if (strcmp(live->counters[i]->name, name) == 0) {
            return live->counters[i]->value;
        }
    }
    return 0;
}

static const char *page_size_text(const Dilos__InstanceLive *live, const char *name)
{
    return print_size(counter(live, name) * PAGE_BYTES);
}

static void print_memory(const Dilos__InstanceLive *live)
{
    print_line("Local now", "%s of frames, %s free, %s kernel; %s of the program in them",
               page_size_text(live, "frames_total"), page_size_text(live, "frames_free"),
               page_size_text(live, "frames_kernel"), page_size_text(live, "pages_local"));
    print_line("Far now", "%s of the program are in far memory only",
               page_size_text(live, "pages_remote"));
    print_line("Faults",
               "%" PRIu64 " far, %" PRIu64 " zero, %" PRIu64 " file, %" PRIu64 " copied, %" PRIu64
               " waited, %" PRIu64 " failed",
               counter(live, "faults_remote"), counter(live, "faults_zero"),
               counter(live, "faults_file"), counter(live, "faults_cow"),
               counter(live, "faults_wait"), counter(live, "faults_failed"));
    print_line("Moved",
               "%" PRIu64 " pages read (%s), %" PRIu64 " written (%s), %" PRIu64
               " discarded, %" PRIu64 " errors",
               counter(live, "far_pages_read"), page_size_text(live, "far_pages_read"),
               counter(live, "far_pages_written"), page_size_text(live, "far_pages_written"),
               counter(live, "far_pages_discarded"), counter(live, "far_errors"));
    print_line("Reclaim",
               "%" PRIu64 " scanned, %" PRIu64 " clean and %" PRIu64 " file pages dropped, %" PRIu64
               " stalls of a fault",
               counter(live, "reclaim_scanned"), counter(live, "reclaim_evicted_clean"),
               counter(live, "reclaim_evicted_file"), counter(live, "reclaim_direct"));
    print_line("TLB", "%" PRIu64 " pages flushed, %" PRIu64 " times all of it",
               counter(live, "tlb_flush_pages"), counter(live, "tlb_flush_all"));
}

/* Of the far pages that were needed, so many were there before: in a thousand. */
static uint64_t hit_share(const Dilos__InstanceLive *live)
{
    uint64_t hits = counter(live, "prefetch_used");
    uint64_t misses = counter(live, "faults_remote");
    while (hits > UINT64_MAX / 2000 || misses > UINT64_MAX / 2000) {
        hits /= 2; /* from a guest, which may send anything */
        misses /= 2;
    }
    return hits + misses == 0 ? 0 : hits * 1000 / (hits + misses);
}

static void print_prefetch(const Dilos__InstanceLive *live)
{
    uint64_t share = hit_share(live);
    print_line("Prefetch",
               "%s: %" PRIu64 " issued, %" PRIu64 " used, %" PRIu64 " late, %" PRIu64
               " wasted; %" PRIu64 ".%" PRIu64 " %% of the far pages that were needed were there",
               live->prefetch[0] == '\0' ? "none" : live->prefetch,
               counter(live, "prefetch_issued"), counter(live, "prefetch_used"),
               counter(live, "prefetch_late"), counter(live, "prefetch_wasted"), share / 10,
               share % 10);
}

static void print_latency(const char *prefix, const Dilos__InstanceLive *live)
{
    struct histogram h;
    histogram_collect(&h, prefix, live->counters, live->n_counters);
    char median[WORDS_TIME_BYTES], p99[WORDS_TIME_BYTES], p999[WORDS_TIME_BYTES];
    print_line(latency_label(prefix),
               "half within %s, 99 %% within %s, 99.9 %% within %s (%" PRIu64 " timed)",
               words_latency(histogram_percentile_ns(&h, 500), median),
               words_latency(histogram_percentile_ns(&h, 990), p99),
               words_latency(histogram_percentile_ns(&h, 999), p999), h.count);
}

static void print_fabrics(const Dilos__InstanceLive *live)
{
    for (size_t i = 0; i < live->n_fabrics; i++) {
        const Dilos__FabricUse *use = live->fabrics[i];
        print_line(i == 0 ? "Memory nodes" : "",
                   "%s over %s: %" PRIu32 " slabs, %s read, %s written%s%s%s", use->node,
                   use->fabric, use->slabs, print_size(use->bytes_read),
                   print_size(use->bytes_written), use->fallback_reason[0] == '\0' ? "" : " (",
                   use->fallback_reason, use->fallback_reason[0] == '\0' ? "" : ")");
        if (use->breaks > 0) {
            print_line("", "  its connection broke %" PRIu32 " times and was made again",
                       use->breaks);
        }
    }
}

static void print_syscalls(const Dilos__InstanceLive *live)
{
    print_line("System calls", "%" PRIu64 ", %" PRIu64 " of them answered ENOSYS",
               counter(live, "syscalls"), counter(live, "syscalls_unknown"));
    for (size_t i = 0; i < live->n_unknown_syscalls; i++) {
        print_line(i == 0 ? "Unknown" : "", "%s", live->unknown_syscalls[i]);
    }
}

static void print_live_text(const Dilos__InstanceInfo *info)
{
    const Dilos__InstanceLive *live = info->live;
    struct histograms histograms;
    if (live == NULL) {
        if (info->live_error[0] != '\0') {
            print_line("Figures", "none: %s", info->live_error);
        }
        return;
    }
    print_line("Figures", "%s", follow_has_ended(info) ? "as they were at its end" : "live");
    print_memory(live);
    print_prefetch(live);
    find_histograms(&histograms, live);
    for (uint32_t i = 0; i < histograms.count; i++) {
        print_latency(histograms.prefixes[i], live);
    }
    print_fabrics(live);
    print_syscalls(live);
    print_health_lines("", live->health, live->n_health);
}

static void print_spec_text(const Dilos__InstanceSpec *spec)
{
    char command[1024];
    print_line("Program", "%s",
               words_command(spec->arguments, spec->n_arguments, command, sizeof(command)));
    uint64_t local_bytes_max =
        spec->local_bytes_max == 0 ? 2 * spec->local_bytes : spec->local_bytes_max;
    print_line("Local memory", "%s, %s after a resize at most", print_size(spec->local_bytes),
               print_size(MAX(local_bytes_max, spec->local_bytes)));
    print_line("Far memory", "%s at most", print_size(spec->far_bytes));
    if (spec->image[0] != '\0') {
        print_line("Image", "%s", spec->image);
    }
    for (size_t i = 0; i < spec->n_files; i++) {
        print_line(i == 0 ? "Files" : "", "%s at %s", spec->files[i]->host_path,
                   spec->files[i]->guest_path);
    }
}

static void print_state_text(const Dilos__InstanceInfo *info)
{
    char outcome[1024], duration[WORDS_TIME_BYTES], created[WORDS_TIME_BYTES];
    uint64_t end_ns = follow_has_ended(info) ? info->ended_ns : sys_realtime_ns();
    print_outcome(info, outcome, sizeof(outcome));
    print_line("State", "%s%s%s", words_instance_state(info->state), outcome[0] == '\0' ? "" : ": ",
               outcome);
    print_line("Agent", "%s", info->agent[0] == '\0' ? "none yet" : info->agent);
    print_line("Created", "%s", words_time(info->created_ns, created));
    if (info->started_ns != 0 && end_ns >= info->started_ns) {
        print_line(follow_has_ended(info) ? "Ran for" : "Runs for", "%s",
                   words_duration((end_ns - info->started_ns) / 1000000u, duration));
    }
}

static void print_text(const Dilos__InstanceInfo *info)
{
    print_line("Name", "%s (id %s)", info->name, info->instance_id);
    print_state_text(info);
    if (info->spec != NULL) {
        print_spec_text(info->spec);
    }
    print_line("Slabs held", "%" PRIu32, info->slabs_held);
    print_live_text(info);
    if (info->n_extents > 0) {
        printf("\n");
        print_extent_table(info->extents, info->n_extents);
        if (info->extents_cut) {
            printf("... and more: dilosctl slab list --instance %s\n", info->name);
        }
    }
}

/* The percentiles beside the figures that they are made of: scripts need not know the buckets. */
static void print_latency_json(struct json *j, const char *prefix, const Dilos__InstanceLive *live)
{
    struct histogram h;
    histogram_collect(&h, prefix, live->counters, live->n_counters);
    json_object(j, prefix);
    json_u64(j, "count", h.count);
    json_u64(j, "p50_ns", histogram_percentile_ns(&h, 500));
    json_u64(j, "p99_ns", histogram_percentile_ns(&h, 990));
    json_u64(j, "p999_ns", histogram_percentile_ns(&h, 999));
    json_object_end(j);
}

static void print_json(const Dilos__InstanceInfo *info)
{
    struct json j;
    json_init(&j, stdout, false);
    json_object(&j, NULL);
    print_instance(&j, "instance", info, true);
    if (info->live != NULL) {
        struct histograms histograms;
        find_histograms(&histograms, info->live);
        add_histogram(&histograms, "fault_remote");
        add_histogram(&histograms, "device_read");
        json_object(&j, "latency");
        for (uint32_t i = 0; i < histograms.count; i++) {
            print_latency_json(&j, histograms.prefixes[i], info->live);
        }
        json_object_end(&j);
        json_u64(&j, "hit_share_per_mille", hit_share(info->live));
    }
    json_object_end(&j);
    json_fini(&j);
}

static void print_inspected(const struct cli *cli, const void *reply)
{
    if (cli->output == CLI_OUTPUT_JSON) {
        print_json(reply);
    } else {
        print_text(reply);
    }
}

int cmd_inspect(struct cli *cli)
{
    static const struct query query = {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_INSPECT,
                                       &dilos__instance_info__descriptor, print_inspected};
    return query_name(cli, &query);
}
