# A crash takes back no answer, and no retry takes effect twice.
#
# psql cannot show this: the server has to go down under its clients.  A client
# that was answered relies on the answer; one that was not cannot know, and
# tries again with the same idempotency keys when the server is back.

use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $CLIENTS = 8;
my $CALLS = 1000;    # of each client
my $dir = PostgreSQL::Test::Utils::tempdir;

# Nobody but a commit, or the process that is made for it, is to write WAL.
my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
autovacuum = off
bgwriter_lru_maxpages = 0
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION svc;
	SELECT svc_install();
	SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');
	-- the first is exhausted on the way
	SELECT svc_grant_entitlement('c1', 'api_calls', 400, priority => 1, id => 'promotion');
	SELECT svc_grant_entitlement('c1', 'api_calls', 1000000, id => 'plan');
});

# ---- the server goes down under its clients, twice, and then stays up ----
#
# Each time all clients begin at their first key, as after a restart of their
# own: they get the old answers, and go on.

my %answer;    # key => what was answered first

for my $client (1 .. $CLIENTS)
{
	append_to_file(
		"$dir/$client.sql",
		join('', map {
			"SELECT '$client-$_', replayed, format('%s %s %s', allowed, remaining, consumed)"
			  . " FROM svc_consume_entitlement('c1', 'api_calls', 1, '$client-$_');\n"
		} (1 .. $CALLS)));
}

for my $round (1 .. 2)
{
	my @clients = start_clients($round);

	wait_for_answers($round, keys(%answer) + 800);
	$node->stop('immediate');
	$_->finish for @clients;
	is(scalar(grep { $_->result(0) == 0 } @clients), 0, "crash $round: all clients have lost their server");
	read_answers($round);
	cmp_ok(scalar keys %answer, '<', $CLIENTS * $CALLS, "crash $round: with calls left to make");
	$node->start;

	my %count = map { split /\|/ } split /\n/, sql(q{
		SELECT idempotency_key, count(*) FROM svc_entitlement_ledger WHERE line = 0 GROUP BY 1});
	my @unanswered = grep { !$answer{$_} } keys %count;

	note sprintf '%d calls were answered, %d others took effect', scalar keys %answer, scalar @unanswered;
	is_deeply([ grep { ($count{$_} // 0) != 1 } keys %answer ],
		[], "crash $round: each acknowledged key is in the ledger, once");
	is_deeply([ grep { !was_under_way($_) } @unanswered ],
		[], "crash $round: others at most when their call was under way");
	check_books("crash $round");
}

my @clients = start_clients(3);

$_->finish for @clients;
is(scalar(grep { $_->result(0) != 0 } @clients), 0, 'no crash: all clients come to their end');
read_answers(3);
is(scalar keys %answer, $CLIENTS * $CALLS, 'no crash: every call has been answered');
is(sql('SELECT count(DISTINCT idempotency_key), sum(amount) FROM svc_entitlement_ledger'),
	join('|', $CLIENTS * $CALLS, $CLIENTS * $CALLS), 'no crash: each has taken effect, once');
check_books('no crash');
is(sql("SELECT revision, event FROM svc_event WHERE entity_id = 'promotion' ORDER BY revision"),
	"1|granted\n2|consumed\n3|exhausted", 'no crash: the smaller grant was exhausted once');

# ---- a replay is an answer as well ----
#
# The first call commits without waiting for the disk, and the process that
# would write its commit there is halted.  Whoever is told by a replay that the
# call has happened must be able to rely on it.  That the crash does lose what
# it can is seen from a call that nobody was told of.

my $walwriter = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
my $consume = 'SELECT allowed, replayed FROM svc_consume_entitlement';

kill 'STOP', $walwriter;
sql("SET synchronous_commit = off; $consume('c1', 'api_calls', 1, 'told')");
is(sql("$consume('c1', 'api_calls', 1, 'told')"), 't|t', 'an asynchronous call is replayed');
sql("SET synchronous_commit = off; $consume('c1', 'api_calls', 1, 'untold')");
kill 'KILL', $walwriter;
for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
{
	last unless -e $node->data_dir . '/postmaster.pid';
	usleep(10_000);
}
$node->stop('immediate', fail_ok => 1);
$node->start;

is(sql("SELECT count(*) FROM svc_entitlement_ledger WHERE idempotency_key = 'told'"),
	1, 'what a replay has told survives a crash');
is(sql("SELECT count(*) FROM svc_entitlement_ledger WHERE idempotency_key = 'untold'"),
	0, 'which has taken what nobody was told');
is(sql("$consume('c1', 'api_calls', 1, 'told')"), 't|t', 'the one is replayed');
is(sql("$consume('c1', 'api_calls', 1, 'untold')"), 't|f', 'and the other takes effect');
check_books('at last');

$node->stop;
done_testing();

# ---- what the tests above are made of ----

sub sql { return $node->safe_psql('postgres', $_[0]); }

# psql writes out each answer before it makes the next call.
sub start_clients
{
	my ($round) = @_;

	return map {
		IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$dir/$_.sql" ],
			'<', \undef, '>', "$dir/$_.$round.out", '2>', "$dir/$_.$round.err")
	} (1 .. $CLIENTS);
}

sub answers_of
{
	my ($round) = @_;

	return map { split /\n/, slurp_file("$dir/$_.$round.out") } (1 .. $CLIENTS);
}

sub wait_for_answers
{
	my ($round, $enough) = @_;

	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if answers_of($round) >= $enough;
		usleep(10_000);
	}
	die 'the clients get no answers';
}

# What was answered before has been answered again; the rest is new.
sub read_answers
{
	my ($round) = @_;
	my @wrong;

	for my $line (answers_of($round))
	{
		my ($key, $replayed, $told) = split /\|/, $line;

		push @wrong, $line
		  if exists $answer{$key} && ($answer{$key} ne $told || $replayed ne 't');
		push @wrong, $line if $told !~ /^t \d+ 1$/;
		$answer{$key} //= $told;
	}
	is_deeply(\@wrong, [], "round $round: an acknowledged key is replayed with its first answer");
}

# Of each client only the call after its last acknowledged one can be.
sub was_under_way
{
	my ($client, $n) = split /-/, $_[0];

	return $n == 1 || exists $answer{ $client . '-' . ($n - 1) };
}

sub check_books
{
	my ($when) = @_;

	is( sql(q{
		SELECT id, used_amount, ledger_seq FROM svc_entitlement e
		EXCEPT
		SELECT entitlement_id, sum(amount), max(seq) FROM svc_entitlement_ledger
		GROUP BY entitlement_id HAVING min(seq) = 1 AND max(seq) = count(*)}),
		'', "$when: used_amount is the sum of the ledger, whose numbers have no holes");
	is( sql(q{
		SELECT e.id FROM svc_entitlement e
		WHERE revision <> (SELECT count(*) FROM svc_event v WHERE v.entity_id = e.id)
		   OR status <> (SELECT to_status FROM svc_event v WHERE v.entity_id = e.id
						 ORDER BY revision DESC LIMIT 1)}),
		'', "$when: status and revision are those of the last event");
}
