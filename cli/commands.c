/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands: what help, completion and main know of them. */
#include "cli/cli.h"

#define ANY_COUNT 100000u

static const char launch_details[] =
    "Runs an unmodified Linux program in a DiLOS unikernel. PROGRAM is a path, or a name that the\n"
    "agent looks up on its PATH; the libraries that it needs come along by themselves.\n"
    "\n"
    "Files: HOST is a path on the agent's host, made absolute against your working directory.\n"
    "Without :GUEST an absolute HOST has the same path in the guest, and a relative one its last\n"
    "part in the program's working directory (--dir, \"/\" by default): so --file data/x.txt is\n"
    "found by the program as x.txt. The program can't change your files.\n"
    "\n"
    "Without --wait or --attach it returns once the program has started. With them the exit code\n"
    "is 0 if the program exited with 0, 4 if the program can't be run (the reason says why), else\n"
    "1, with the reason on stderr; with --exit-status it is the program's own.";

const struct cli_command cli_commands[] = {
    {"status", "", "the pool at a glance: members, free memory, health", NULL,
     "  dilosctl status\n  dilosctl --output json status", 0, 0, false, cmd_status},
    {"node list", "", "all memory nodes", NULL,
     "  dilosctl node list\n  dilosctl node list --output json | jq '.nodes[].slabs_free'", 0, 0,
     false, cmd_node_list},
    {"node inspect", "NAME", "one memory node: slabs, fabrics, counters, health", NULL,
     "  dilosctl node inspect mn1", 1, 1, false, cmd_node_inspect},
    {"slab list", "", "runs of slabs: their state and who holds them", NULL,
     "  dilosctl slab list\n  dilosctl slab list --node mn1\n"
     "  dilosctl slab list --instance idx",
     0, 0, false, cmd_slab_list},
    {"slab inspect", "NODE INDEX", "one slab", NULL, "  dilosctl slab inspect mn1 17", 2, 2, false,
     cmd_slab_inspect},
    {"launch", "[--] PROGRAM [ARGUMENT...]", "run a program on memory of the pool", launch_details,
     "  # output here, Ctrl-C stops it\n"
     "  dilosctl launch --local-memory 64M --far-memory 1G --file index.awk --file packages.txt "
     "\\\n"
     "      --attach -- gawk -f index.awk packages.txt\n"
     "  # in the background\n"
     "  dilosctl launch --name py --env PYTHONHASHSEED=0 --file job.py -- python3 job.py\n"
     "  dilosctl inspect py\n"
     "  dilosctl wait py",
     1, ANY_COUNT, true, cmd_launch},
    {"ps", "", "all instances", NULL, "  dilosctl ps\n  dilosctl ps --quiet", 0, 0, false, cmd_ps},
    {"inspect", "NAME", "one instance: state, memory, faults, latencies, slabs, health",
     "Figures from the unikernel and its agent; of one that has ended, its last. Percentiles are\n"
     "upper bounds, since latencies are counted in powers of two.",
     "  dilosctl inspect idx\n"
     "  dilosctl inspect idx --output json | jq .instance.live.counters.faults_remote",
     1, 1, false, cmd_inspect},
    {"logs", "NAME", "the program's output, or its kernel's log", NULL,
     "  dilosctl logs idx\n  dilosctl logs idx --stream stderr --follow\n"
     "  dilosctl logs idx --stream kernel",
     1, 1, false, cmd_logs},
    {"tune", "NAME KEY=VALUE", "change a setting of an instance while it runs",
     "prefetch=none|readahead|trend: which pages are asked for ahead of need.",
     "  dilosctl tune idx prefetch=readahead", 2, 2, false, cmd_tune},
    {"resize", "NAME", "change the memory of an instance while it runs",
     "Local memory shrinks as far as what is in use now can leave it, and grows up to the\n"
     "--max-local-memory of the launch. Far memory can't be less than what is held.",
     "  dilosctl resize idx --local-memory 128M\n"
     "  dilosctl resize idx --local-memory 32M --far-memory 2G",
     1, 1, false, cmd_resize},
    {"stop", "NAME...", "end instances: SIGTERM, and after the grace time the VM",
     "Waits until they have ended. Their far memory goes back to the pool.",
     "  dilosctl stop idx\n  dilosctl stop idx --grace 0.5", 1, ANY_COUNT, false, cmd_stop},
    {"wait", "NAME", "wait until an instance ends",
     "The exit code is 0 if the program exited with 0, 4 if it couldn't be run, else 1 (also "
     "after\n"
     "the timeout), with the reason on stderr; with --exit-status it is the program's own. It "
     "goes\n"
     "on waiting while the controller restarts, for up to a minute.",
     "  dilosctl wait idx\n  dilosctl wait idx --timeout 60 --exit-status", 1, 1, false, cmd_wait},
    {"rm", "NAME...", "forget instances that have ended, with their logs", NULL,
     "  dilosctl rm idx", 1, ANY_COUNT, false, cmd_rm},
    {"events", "", "what happened: members, instances, slabs lost",
     "With --output json each event is one line.",
     "  dilosctl events\n  dilosctl events --follow --output json", 0, 0, false, cmd_events},
    {"image build", "NAME PROGRAM", "build a root image of a program, its libraries and files",
     "--file as for launch, with \"/\" as the working directory.",
     "  dilosctl image build gawk /usr/bin/gawk\n"
     "  dilosctl image build job python3 --file /usr/lib/python3.11 --file job.py\n"
     "  dilosctl launch --image job -- python3 job.py",
     2, 2, false, cmd_image_build},
    {"image list", "", "all images", NULL, "  dilosctl image list", 0, 0, false, cmd_image_list},
    {"version", "", "the version of dilosctl", NULL, "  dilosctl version", 0, 0, false,
     cmd_version},
    {"help", "[COMMAND]", "the commands, or one of them", NULL,
     "  dilosctl help\n  dilosctl help launch", 0, 2, false, cmd_help},
};
const uint32_t cli_command_count = ARRAY_LEN(cli_commands);
