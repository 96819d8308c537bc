# SPDX-License-Identifier: Apache-2.0
"""Memory nodes and agents that stand still for a while: nothing is lost, contents are checked."""
import signal
import sys
import time

from support import BEHAVE, hold, launch, main, stdout_of, wait_all_free, wait_filled
from lab.tap import expect, expect_equal, expect_in

# Longer than a connection without an answer is kept (lib/fabric/steady.h: stall_ms), shorter than
# it takes until data is given up (patience_ms).
STILL_S = 6


def expect_verified(lab, name):
    done = lab.ctl('wait', name, limit_s=90)
    expect_equal(done.returncode, 0, done.stdout + done.stderr)
    expect_equal(stdout_of(lab, name), b'filled\nverified\n', f'output of {name}')


def breaks(lab, name):
    return sum(f['breaks'] for f in lab.instance(name)['live']['fabrics'])


def test_memory_node_stands_still(lab, members):
    """Over TCP no answers come: the agent connects again, and repeats what it had asked."""
    hold(lab, 'tcp', seconds='20')
    expect_equal({f['fabric'] for f in lab.instance('tcp')['live']['fabrics']}, {'tcp'}, 'fabric')
    members['mn1'].signal(signal.SIGSTOP)
    time.sleep(STILL_S)
    expect_equal(lab.instance('tcp')['state'], 'running', 'meanwhile')
    members['mn1'].signal(signal.SIGCONT)
    lab.wait_until(lambda: lab.nodes()['mn1']['state'] == 'up', 'mn1 to be up again')
    expect_verified(lab, 'tcp')
    expect(breaks(lab, 'tcp') > 0, 'the connection was made anew')
    log = lab.ctl('logs', 'tcp', '--stream', 'kernel').stdout
    expect_in('memory node mn1 does not answer: connecting again', log, 'the log')
    expect_in('memory node mn1 is connected again', log, 'the log')
    wait_all_free(lab)


def test_agent_stands_still(lab, members):
    """Everything that it has open is where it was when it goes on."""
    hold(lab, 'still', seconds='10')
    members['agent'].signal(signal.SIGSTOP)
    time.sleep(STILL_S)
    members['agent'].signal(signal.SIGCONT)
    lab.wait_until(lambda: lab.json('status')['agents_up'] == 1, 'the agent to be up again')
    expect_verified(lab, 'still')
    wait_all_free(lab)


def test_memory_node_dies_after_a_refusal(lab, members):
    """No more far memory, then the node that has the program's data is gone: a prompt end."""
    members['mn2'].kill()
    lab.wait_until(lambda: lab.nodes()['mn2']['state'] != 'up', 'mn2 to be down')
    done = launch(lab, 'both', BEHAVE, 'take', '60', '60', far='60M')
    expect_equal(done.returncode, 0, done.stderr)
    lab.wait_until(lambda: stdout_of(lab, 'both') != b'', 'the program to have its memory', 60)
    members['mn1'].kill()
    instance = lab.wait_state('both', ('failed', 'exited'), 30)
    expect(instance['exit_kind'] in ('far-lost', 'no-memory'), instance['reason'])
    expect_in('mn1', instance['reason'], 'the node is named')
    for name in ('mn1', 'mn2'):
        members[name].start()
    lab.wait_up(nodes=2, agents=1)
    wait_all_free(lab)


def make_pool(lab):
    lab.start_controller()
    members = {name: lab.start_memnode(name, fabrics=('tcp',), host='h') for name in ('mn1', 'mn2')}
    members['agent'] = lab.start_agent('a1')
    lab.wait_up(nodes=2, agents=1, limit_s=90)
    return members


sys.exit(main(globals(), make_pool))
