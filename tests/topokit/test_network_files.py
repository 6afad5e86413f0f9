"""Links files and quantities: what is written is read again, and what is wrong is said with its line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topokit.errors import InputError
from topokit.network import (
    Host,
    Link,
    Network,
    format_rate,
    format_seconds,
    format_size,
    parse_rate,
    parse_seconds,
    parse_size,
)
from topokit.network.files import dumps, loads

CLUSTER = """\
# two machines, one of them slow
host,nodes,send,both
fast, 0-3 6, 10Gbit/s, 12Gbit/s
slow, 4 5, ,

fabric,overhead
20Gbit/s,5us

from,to,bandwidth,latency
*,*,10Gbit/s,50us
*,slow,1Gbit/s,50us
slow,slow,8GB/s,1us
0,5,100Mbit/s,1ms
"""


def test_a_file_written_by_hand():
    network = loads(CLUSTER)
    assert network.hosts == (
        Host("fast", (0, 1, 2, 3, 6), send=1.25e9, receive=1.25e9, both=1.5e9),
        Host("slow", (4, 5), send=1.25e9, receive=125e6),  # as fast as its fastest links
    )
    assert (network.fabric, network.overhead) == (2.5e9, 5e-6)
    bandwidth, latency = network.link([0, 1, 4, 0, 5], [1, 4, 5, 5, 0])
    assert bandwidth.tolist() == [1.25e9, 125e6, 8e9, 12.5e6, 1.25e9]
    assert latency.tolist() == [5e-5, 5e-5, 1e-6, 1e-3, 5e-5]
    assert loads(dumps(network)) == network


positive = st.floats(1e-9, 1e15)
unlimited = st.one_of(positive, st.just(math.inf))


@given(st.data())
def test_what_is_written_is_read(data):
    n = data.draw(st.integers(1, 6))
    cut = data.draw(st.integers(0, n - 1))
    groups = [tuple(range(cut)), tuple(range(cut, n))][cut == 0 :]
    hosts = tuple(Host(f"gpu-{k}.rack", g, *(data.draw(unlimited) for _ in range(4))) for k, g in enumerate(groups))
    ends = st.one_of(st.none(), st.integers(0, n - 1), st.sampled_from([host.name for host in hosts]))
    pairs = data.draw(st.lists(st.tuples(ends, ends), min_size=1, unique=True))
    links = tuple(Link(a, b, data.draw(unlimited), data.draw(st.floats(0, 1e3))) for a, b in pairs)
    network = Network(hosts, links, data.draw(unlimited), data.draw(st.floats(0, 1)))
    assert loads(dumps(network)) == network


def test_files_are_replaced_at_once(tmp_path):
    network = Network.uniform(4, "1Gbit/s", "1ms", nodes_per_host=2, inside_bandwidth="20GB/s")
    network.save(tmp_path / "links.csv")
    assert Network.load(tmp_path / "links.csv", nodes=4) == network
    assert [path.name for path in tmp_path.iterdir()] == ["links.csv"]
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        network.save(tmp_path / "no" / "links.csv")
    with pytest.raises(InputError, match="there is no such file"):
        Network.load(tmp_path / "other.csv")


def test_without_a_table_of_hosts_every_node_has_its_own():
    network = loads("from,to,bandwidth,latency\n*,*,1Gbit,1ms\n2,0,10Gbit,1ms\n")
    assert [host.nodes for host in network.hosts] == [(0,), (1,), (2,)]
    assert [host.send for host in network.hosts] == [125e6, 125e6, 1.25e9]
    assert [host.receive for host in network.hosts] == [1.25e9, 125e6, 125e6]


LINKS = "from,to,bandwidth,latency\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no table of links in it"),
        (LINKS, "line 1: the table of links is empty"),
        ("0,1,1Gbit,1ms\n", "line 1: a table starts with its header, for instance from,to,bandwidth,latency, not with"),
        (LINKS + "*,*,1Gbit,1ms\n", "it says nothing of the number of nodes"),
        (LINKS + "0,1,1G,1ms\n", "line 2: the column bandwidth is '1G'; expected a number with bit/s or B/s"),
        (LINKS + "0,1,0Gbit,1ms\n", "line 2: the column bandwidth is '0Gbit'; expected a rate above 0"),
        (LINKS + "0,1,1Gbit,1\n", "line 2: the column latency is '1'; expected a number with s, ms, us or ns"),
        (LINKS + "0,1,1Gbit\n", "line 2: the column latency is empty"),
        (LINKS + "0,1,1Gbit,1ms,7\n", "line 2: there are 5 cells under 4 columns"),
        (LINKS + "0,1,1Gbit,1ms\n\n0,1,1Gbit,1ms\n", "line 4: the link 0,1 was given before, in line 2"),
        (LINKS + "0,b,1Gbit,1ms\n", "line 2: there is no host b in the table of hosts"),
        (LINKS + LINKS, "line 2: there was a table that starts with from before, in line 1"),
        (LINKS + "0,1234567,1Gbit,1ms\n", "line 2: node 1234567 is beyond the 1000000 nodes"),
        ("from,to,speed,latency\n", "line 1: there is no column 'speed' in this table"),
        ("from,to,to,latency\n", "line 1: the column to is named twice"),
        ("from,to,bandwidth\n", "line 1: the column latency is missing"),
        ("host,nodes\na,0-1\nb,1\n" + LINKS, "line 3: node 1 was given before, in line 2"),
        ("host,nodes\na,0\na,1\n" + LINKS, "line 3: the host a was given before, in line 2"),
        ("host,nodes\na,1-0\n" + LINKS, "line 2: the range of nodes 1-0 is empty"),
        ("host,nodes\na,0-99999999999\n", "line 2: nodes are '0-99999999999'; expected numbers and ranges"),
        ("host,nodes\na,x\n", "line 2: nodes are 'x'"),
        ("host,nodes,send\na,0,fast\n", "line 2: the column send is 'fast'"),
        ("host,nodes\na,0 2\n" + LINKS + "*,*,1Gbit,1ms\n", "node 1 is on no host"),
        ("host,nodes\na,0-1\n" + LINKS + "0,2,1Gbit,1ms\n", "line 4: there is no node 2; nodes are numbered 0 to 1"),
        ("host,nodes\n12,0-1\n" + LINKS + "*,*,1Gbit,1ms\n", "a host is called '12'"),
        ("fabric\n1Gbit\n2Gbit\n", "line 3: there is a row for the fabric in line 2 already"),
        (LINKS + '"0,1,1Gbit,1ms\n', "line 2: it is not CSV"),
        (b"\xff\xfe", "it is not UTF-8 text (byte 0)"),
    ],
)
def test_mistakes_in_a_file(text, message):
    with pytest.raises(InputError) as error:
        loads(text, "cluster.csv")
    assert str(error.value).startswith("cluster.csv: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_for_another_number_of_nodes():
    with pytest.raises(InputError, match="it describes 7 nodes, and 8 are wanted"):
        loads(CLUSTER, nodes=8)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_rate, "1Gbit", 125e6),
        (parse_rate, "1Gbit/s", 125e6),
        (parse_rate, " 100 Mbit/s ", 12.5e6),
        (parse_rate, "8bit/s", 1.0),
        (parse_rate, "12.5MB/s", 12.5e6),
        (parse_rate, ".5e1kB/s", 5000.0),
        (parse_rate, "1GiB/s", 2.0**30),
        (parse_rate, "inf", math.inf),
        (parse_size, "100MB", 1e8),
        (parse_size, "64KiB", 65536.0),
        (parse_size, "7B", 7.0),
        (parse_seconds, "1ms", 1e-3),
        (parse_seconds, "100us", 1e-4),
        (parse_seconds, "50 µs", 5e-5),
        (parse_seconds, "0s", 0.0),
    ],
)
def test_quantities(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    "text", ["1G", "10Mb/s", "1Gb", "1GB", "1gbit", "-1Gbit", "nan", "1 000Mbit", "", "Gbit", "1e99GB/s"]
)
def test_rates_that_can_be_read_two_ways_are_refused(text):
    with pytest.raises(InputError, match=r"^the bandwidth is .*; expected a number with bit/s or B/s, for instance"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["100", "100mb", "100Mbit", "1MB/s", "inf", True, None, [1]])
def test_sizes_need_bytes(text):
    with pytest.raises(InputError, match=r"^the size is .*; expected a number with B, kB, MB"):
        parse_size(text)


@given(positive)
def test_formats_say_the_number_exactly(value):
    assert parse_rate(format_rate(value)) == value
    assert parse_size(format_size(value)) == value
    assert parse_seconds(format_seconds(value)) == value
