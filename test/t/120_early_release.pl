# With svc.early_lock_release nothing is answered before it is durable, though
# locks are released, and others see the commit, before that.
#
# psql cannot show this: it takes servers that are killed under their clients, and
# a look at a transaction between its commit and its answer.  The same clients
# with synchronous_commit = off do lose what they were answered: so this test
# would notice.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run;
use KillAll;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $CLIENTS = 8;
my $CALLS = 20000;    # of each client, more than it can make
my $EARLY = '-c svc.early_lock_release=on';
my $dir = PostgreSQL::Test::Utils::tempdir;

# Nobody but a commit, or the process that is made for it, is to write WAL.
my $node = PostgreSQL::Test::Cluster->new('early');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
autovacuum = off
bgwriter_lru_maxpages = 0
wal_level = minimal
max_wal_senders = 0
max_prepared_transactions = 2
commit_siblings = 0
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION svc;
	SELECT svc_install();
	SELECT svc_create_customer('{"id": "c1", "name": "Ada", "status": "active"}');
	SELECT svc_grant_entitlement('c1', 'api_calls', 100000000);
	SELECT svc_grant_entitlement('c1', 'few', 10);
	-- (by the index: one look must take far less than the 100 ms)
	CREATE FUNCTION count_seen(name text) RETURNS int LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
	DECLARE
		keys text[] := '{}';
		is_there boolean := false;
		was_there boolean := false;
	BEGIN
		WHILE (is_there OR NOT was_there) AND clock_timestamp() < now() + interval '60 s' LOOP
			PERFORM pg_stat_clear_snapshot(), pg_sleep(0.005);
			is_there := EXISTS (SELECT FROM pg_stat_activity WHERE application_name = name);
			was_there := was_there OR is_there;
			keys := keys || ARRAY(
				SELECT l.idempotency_key FROM pg_stat_activity a
				JOIN svc_entitlement_ledger l ON l.customer_id = 'c1' AND l.line = 0
				 AND l.idempotency_key = substring(a.query FROM name || ' [0-9]+ seen')
				WHERE a.application_name = name AND a.state = 'active');
		END LOOP;
		RETURN (SELECT count(DISTINCT key) FROM unnest(keys) AS key);
	END $$;
});

# ---- kill -9, ten times ----

for my $round (1 .. 10)
{
	is(count_lost("early$round", $EARLY), 0, "kill $round: each key that was answered is in the ledger");
}
cmp_ok(count_lost('async', '-c synchronous_commit=off'), '>', 0, 'which with synchronous_commit = off is not so');
is( sql(q{
	SELECT id, used_amount, ledger_seq FROM svc_entitlement e WHERE ledger_seq > 0
	EXCEPT
	SELECT entitlement_id, sum(amount), max(seq) FROM svc_entitlement_ledger
	GROUP BY entitlement_id HAVING min(seq) = 1 AND max(seq) = count(*)}),
	'', 'used_amount is the sum of the ledger, whose numbers have no holes');

# ---- what is answered is on disk ----

my $few = "svc_consume_entitlement('c1', 'few'";
my $on_disk = q{SELECT 'flushed' WHERE pg_wal_lsn_diff(pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn()) <= 40;};
my $walwriter = halt_walwriter();

sql('CREATE TABLE witness (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)');
# (who reads a page with dead rows cleans it up, and writes WAL for that)
sql($_) for ('VACUUM', 'CHECKPOINT');
for (
	[ 'a statement', "SELECT FROM $few);", 1 ],
	[ 'a block', "BEGIN; SELECT FROM $few); COMMIT;", 1 ],
	[ 'savepoints', "BEGIN; SAVEPOINT a; SELECT FROM $few); ROLLBACK TO a; CREATE TEMP TABLE t (); COMMIT;", 1 ],
	[ 'a block that sets it', "SET svc.early_lock_release = off; BEGIN; SET LOCAL svc.early_lock_release = on; SELECT FROM $few); COMMIT;", 1 ],
	[ 'synchronous_commit = local', "SET synchronous_commit = local; SELECT FROM $few);", 1 ],
	[ 'synchronous_commit = remote_write', "SET synchronous_commit = remote_write; SELECT FROM $few);", 1 ],
	[ 'synchronous_commit = remote_apply', "SET synchronous_commit = remote_apply; SELECT FROM $few);", 1 ],
	[ 'synchronous_commit = off', "SET synchronous_commit = off; SELECT FROM $few);", 0 ],
	[ 'SET LOCAL synchronous_commit', "BEGIN; SELECT FROM $few); SET LOCAL synchronous_commit = off; COMMIT;", 0 ],
	[ 'a procedure that commits', "DO \$\$ BEGIN PERFORM $few); COMMIT; END \$\$;", 1 ],
	[ 'a transaction that is prepared', "BEGIN; SELECT FROM $few); PREPARE TRANSACTION 'p';", 1 ],
	[ 'and committed', "COMMIT PREPARED 'p';", 1 ],
	[ 'a rollback, and what is next', "BEGIN; SELECT FROM $few); ROLLBACK; SET synchronous_commit = off; CREATE TEMP TABLE t (); INSERT INTO witness DEFAULT VALUES;", 0 ],
	[ 'an error, and what is next', "\\set ON_ERROR_STOP off\nBEGIN; SELECT FROM $few); SELECT 1 / 0; COMMIT;\nINSERT INTO witness DEFAULT VALUES;", 1 ],
	[ 'a commit that fails', "\\set ON_ERROR_STOP off\nBEGIN; SELECT FROM $few); INSERT INTO witness (n) VALUES (1), (1); COMMIT;\nINSERT INTO witness DEFAULT VALUES; SHOW synchronous_commit;", 1 ])
{
	my ($what, $statements, $is_flushed) = @$_;

	my ($rc, $out, $err) = $node->psql('postgres', "SET svc.early_lock_release = on;\n$statements\n$on_disk");
	is($out =~ /flushed/ ? 1 : 0, $is_flushed, "$what: " . ($is_flushed ? 'on disk' : 'not on disk'));
	like($out, qr/^on$/m, "$what: synchronous_commit is as it was") if $statements =~ /SHOW/;
	sql('CHECKPOINT');
}
kill 'CONT', $walwriter;
is(sql("SELECT used_amount FROM svc_entitlement WHERE code = 'few'"), 10, 'the quota is exact');
is(sql("SELECT allowed FROM $few)"), 'f', 'and at its end');

# ---- others see a commit before it is answered ----

# (only then does commit_delay mean something)
$node->append_conf('postgresql.conf', 'fsync = on');
$node->reload;
cmp_ok(count_seen('early', $EARLY), '>=', 4, 'early release: commits are seen before they are on disk');
cmp_ok(count_seen('late', ''), '<=', 2, 'which else is not so');

# ---- a synchronous standby is waited for ----

$node->append_conf('postgresql.conf', "wal_level = replica\nmax_wal_senders = 1\nsynchronous_standby_names = 'nobody'\n");
$node->restart;
sql("SET synchronous_commit = local; SELECT svc_grant_entitlement('c1', 'more', 10)");
my $waiting = start_client('standby', $EARLY, "SELECT allowed FROM svc_consume_entitlement('c1', 'more');\n");

$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
  or die 'nobody waits for the standby';
is(slurp_file("$dir/standby.out"), '', 'a client waits for a synchronous standby');
is( sql("SET synchronous_commit = local; SET svc.early_lock_release = on;"
	  . " SELECT allowed FROM svc_consume_entitlement('c1', 'few', -1)"),
	't', 'but not with synchronous_commit = local');
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$node->reload;
$waiting->finish;
is(slurp_file("$dir/standby.out"), "t\n", 'until there is none any more');

$node->stop;
done_testing();

# ---- what the tests above are made of ----

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The process that writes to disk what others have left.
sub halt_walwriter
{
	my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");

	kill 'STOP', $pid;
	return $pid;
}

# psql writes out each answer before it makes the next call.
sub start_client
{
	my ($name, $options, $statements) = @_;

	append_to_file("$dir/$name.sql", $statements);
	append_to_file("$dir/$name.out", '');
	local $ENV{PGOPTIONS} = $options;
	local $ENV{PGAPPNAME} = $name;
	return IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$dir/$name.sql" ],
		'<', \undef, '>', "$dir/$name.out", '2>', "$dir/$name.err");
}

# Kill the server under its clients: how many of the keys that were answered are
# not in the ledger then?
sub count_lost
{
	my ($round, $options) = @_;
	my @clients = map {
		my $client = "$round-$_";
		start_client($client, $options, join '', map {
			"SELECT '$client-$_' FROM svc_consume_entitlement('c1', 'api_calls', 1, '$client-$_');\n"
		} (1 .. $CALLS))
	} (1 .. $CLIENTS);
	my @answered;

	halt_walwriter();
	for (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		@answered = answers_of($round);
		last if @answered >= 400;
		usleep(10_000);
	}
	cmp_ok(scalar @answered, '>=', 400, "$round: the clients are at work");
	kill_all($node);
	$_->finish for @clients;
	@answered = answers_of($round);
	$node->start;
	my %is_there = map { $_ => 1 } split /\n/,
	  sql("SELECT idempotency_key FROM svc_entitlement_ledger WHERE idempotency_key LIKE '$round-%'");

	note sprintf '%s: %d answered, %d in the ledger', $round, scalar @answered, scalar keys %is_there;
	return scalar grep { !$is_there{$_} } @answered;
}

sub answers_of
{
	my ($round) = @_;

	return grep { /^$round-\d+-\d+$/ } map { split /\n/, slurp_file("$dir/$round-$_.out") } (1 .. $CLIENTS);
}

# How many of 20 commits are seen while their client waits for the answer, which
# takes 100 ms?
sub count_seen
{
	my ($name, $options) = @_;
	my $client = start_client($name, "$options -c commit_delay=100000", join '', map {
		"SELECT allowed FROM svc_consume_entitlement('c1', 'api_calls', 1, '$name $_ seen');\n"
	} (1 .. 20));
	# (looked for within the server, which is quick enough also on a busy machine)
	my $seen = sql("SELECT count_seen('$name')");

	$client->finish;
	return $seen;
}
