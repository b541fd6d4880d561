# Usage is rolled up once, whoever records and rolls up at the same time, and whatever
# the server goes through: each figure is what the raw records make, none is lost, none
# is counted twice.
#
# Eight clients record: one by one and many at a time, with keys and corrections, in
# transactions that take long, that are rolled back, or partly.  Two others roll up all
# the while, one customer or all, and close periods.  The server is killed under them,
# and they go on with the same keys.

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
my $CALLS = 400;    # of each client
my $CUSTOMERS = 12;
my $dir = PostgreSQL::Test::Utils::tempdir;
my $seed = $ENV{SVC_TEST_SEED} // int(rand(2**31));
note "seed: $seed; SVC_TEST_SEED=$seed repeats the clients' choices";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('usage');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
log_min_error_statement = panic
deadlock_timeout = 20ms
});
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION svc;
	SELECT svc_install();
	INSERT INTO svc_customer (id, name, status, timezone, created_at)
	SELECT 'c' || i, 'n', 'active', (ARRAY['Europe/Berlin', NULL, 'America/St_Johns'])[1 + i % 3], '2020-01-01Z'
	FROM generate_series(1, $CUSTOMERS) i;
	SELECT svc_set_meter('peak', 'max'), svc_set_meter('level', 'last'), svc_set_meter('logins', 'count'),
		   svc_set_meter('tokens', unit_cost => 0.01, currency => 'EUR', usage_column => 'tokens_used');
	-- what nobody may see: a question answered otherwise than by the raw records
	CREATE TABLE seen (what text);
	CREATE FUNCTION look() RETURNS void LANGUAGE sql AS \$\$
		INSERT INTO seen
		SELECT format('%s of %s: %s, not %s', r, c.id, g.quantity, x.sum)
		FROM svc_customer c, unnest('{api_calls,tokens}'::text[]) r, svc_get_usage(c.id, r) g,
			 LATERAL (SELECT coalesce(sum(quantity), 0) AS sum FROM svc_usage u WHERE u.customer_id = c.id AND u.resource = r) x
		WHERE g.quantity <> x.sum
	\$\$;
});

my $round = 0;
my %acknowledged;

for my $client (1 .. $CLIENTS)
{
	my @resources = qw(api_calls tokens peak level logins emails);
	my $sql = '';

	for my $n (1 .. $CALLS)
	{
		my $customer = 'c' . (1 + int rand $CUSTOMERS);
		my $resource = $resources[ rand @resources ];
		my $quantity = 1 + int rand 9;
		my $at = sprintf "'2026-%02d-%02d %02d:%02dZ'", 1 + rand 3, 1 + rand 28, rand 24, rand 60;
		my $key = "$client-$n";
		my $record = "svc_record_usage('$customer', '$resource', $quantity, $at, '$key')";
		my $what = rand;

		if ($what < 0.5)
		{
			$sql .= "SELECT 'done $key' FROM (SELECT $record) r;\n";
		}
		elsif ($what < 0.6)
		{
			$sql .= "SELECT 'done $key' FROM svc_record_usage_batch('[{\"customer_id\": \"$customer\", \"resource\": \"$resource\","
			  . " \"idempotency_key\": \"$key\"}, {\"customer_id\": \"nobody\", \"resource\": \"x\"}]') WHERE outcome <> 'refused';\n";
		}
		elsif ($what < 0.75)
		{
			# a long transaction, part of which is rolled back
			my $end = rand() < 0.7 ? 'COMMIT' : 'ROLLBACK';
			$sql .= "BEGIN;\nSELECT $record \\g /dev/null\nSAVEPOINT s;\n"
			  . "SELECT svc_record_usage('$customer', 'never', 1) \\g /dev/null\nROLLBACK TO s;\n"
			  . sprintf("SELECT pg_sleep(%.3f) \\g /dev/null\n%s;\n", rand() * 0.1, $end);
			$sql .= "SELECT 'done $key';\n" if $end eq 'COMMIT';
		}
		elsif ($what < 0.9)
		{
			$sql .= "INSERT INTO svc_usage (customer_id, resource, quantity, occurred_at)"
			  . " SELECT 'c' || 1 + i % $CUSTOMERS, '$resource', i, $at FROM generate_series(1, 20) i ORDER BY 1;\n";
		}
		else
		{
			$sql .= "SELECT svc_adjust_usage(customer_id, id, -1) FROM svc_usage WHERE customer_id = '$customer'"
			  . " AND status = 'recorded' AND adjusts_id IS NULL ORDER BY id LIMIT 1 \\g /dev/null\n";
		}
	}
	append_to_file("$dir/$client.sql", $sql);
}

append_to_file("$dir/roll1.sql", join '', map {
	(rand() < 0.5 ? "SELECT svc_aggregate_usage();\n" : "SELECT count(*) FROM svc_run_due(max_rows => 50);\n") . "SELECT look();\n"
} 1 .. 3000);
# (one is closed at once, so that there is something late however slow all this is)
append_to_file("$dir/roll2.sql", join '', "SELECT svc_finalize_usage('c1', 'day', '2026-01-15 12:00Z');\n", map {
	my $customer = 'c' . (1 + int rand $CUSTOMERS);
	my $what = rand;
	$what < 0.6 ? "SELECT svc_aggregate_usage('$customer');\n" :
	$what < 0.95 ? "SELECT svc_aggregate_usage();\n" :
	sprintf("SELECT svc_finalize_usage('%s', 'day', '2026-01-%02d 12:00Z');\n", $customer, 1 + rand 28)
} 1 .. 3000);

# ---- the server is killed under all of them, and they go on ----

for (1, 2)
{
	my @clients = start_clients();
	my $waited = 0;

	usleep(100_000) while read_acknowledged() < $_ * $CLIENTS * $CALLS / 6 && $waited++ < 600;
	kill_all($node);
	$_->finish for @clients;
	cmp_ok(read_acknowledged(), '>', 0, "round $round: there were answers");
	$node->start;
	check_keys("round $round, after the crash");
	is(sql('SELECT * FROM svc_verify()'), '', "round $round: after the crash, roll-ups are what their records make");
}

my @clients = start_clients();

# who rolls up ends when all have recorded
$_->finish for @clients[ 0 .. $CLIENTS - 1 ];
$_->kill_kill for @clients[ $CLIENTS .. $#clients ];
$node->poll_query_until('postgres', q{
	SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()})
  or die 'those who roll up do not end';
is(join('', map { slurp_file("$dir/$_.$round.err") } 1 .. $CLIENTS, 'roll1', 'roll2'), '', 'nobody was refused anything');
read_acknowledged();
check_keys('at the end');

# ---- what is left is rolled up, and all of it is right ----

sql('SELECT svc_aggregate_usage()');
is(sql('SELECT svc_aggregate_usage()'), '0', 'nothing is left to roll up');
is(sql('SELECT * FROM svc_verify()'), '', 'every figure is what its records make');
is(sql('SELECT * FROM seen LIMIT 5'), '', 'nobody has seen another sum than that of the raw records');
is(sql(q{SELECT count(*) FROM svc_usage WHERE resource = 'never'}), '0', 'what was rolled back is not there');
is(sql(q{
	SELECT r FROM unnest('{api_calls,tokens,emails}'::text[]) r
	WHERE (SELECT sum(quantity) FROM svc_usage WHERE resource = r) <>
		  (SELECT sum(g.quantity) FROM svc_customer c, svc_get_usage(c.id, r) g)}), '', 'the sums of all customers are those of the raw records');
is(sql(q{SELECT sum(api_calls) IS NOT DISTINCT FROM (SELECT sum(quantity) FROM svc_usage WHERE resource = 'api_calls')
		 FROM svc_customer_usage WHERE is_folded AND period_type = 'hour'}), 't', 'and so are those of the hours');
cmp_ok(sql('SELECT count(*) FROM svc_usage'), '>', $CLIENTS * $CALLS, 'there were many');
cmp_ok(sql(q{SELECT count(*) FROM svc_usage WHERE booked_at > occurred_at}), '>', 0, 'some came too late for their period');
cmp_ok(sql(q{SELECT count(*) FROM svc_customer_usage WHERE status = 'finalized'}), '>', 0, 'which was final');

# ---- restored in another installation, where transaction ids begin anew ----

sql(q{SELECT svc_record_usage('c1', 'api_calls', 5, '2026-02-10Z'), svc_record_usage('c2', 'peak', 99, '2026-02-10Z')});
my $before = sql(q{SELECT c.id, r, quantity FROM svc_customer c, unnest('{api_calls,tokens,peak,level,logins}'::text[]) r, svc_get_usage(c.id, r) ORDER BY 1, 2});
command_ok([ 'pg_dump', '-Fc', '-f', "$dir/usage.dump", '-d', $node->connstr('postgres') ], 'dumped');
$node->stop;

my $elsewhere = PostgreSQL::Test::Cluster->new('elsewhere');
$elsewhere->init;
$elsewhere->start;
$elsewhere->safe_psql('postgres', 'CREATE ROLE svc_owner');
command_ok([ 'pg_restore', '-j', '2', '-d', $elsewhere->connstr('postgres'), "$dir/usage.dump" ], 'restored');
$node = $elsewhere;
is(sql(q{SELECT c.id, r, quantity FROM svc_customer c, unnest('{api_calls,tokens,peak,level,logins}'::text[]) r, svc_get_usage(c.id, r) ORDER BY 1, 2}),
	$before, 'elsewhere, each question has the same answer');
is(sql('SELECT svc_aggregate_usage()'), '2', 'what was not rolled up there is here');
sql(q{SELECT svc_record_usage('c1', 'api_calls', 7, '2026-02-11Z')});
is(sql('SELECT svc_aggregate_usage()'), '1', 'and what is recorded here');
is(sql('SELECT svc_aggregate_usage()'), '0', 'once');
is(sql('SELECT * FROM svc_verify()'), '', 'every figure is what its records make');

$node->stop;
done_testing();

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub start_clients
{
	$round++;
	return map {
		IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-f', "$dir/$_.sql" ],
			'>', "$dir/$_.$round.out", '2>', "$dir/$_.$round.err")
	} 1 .. $CLIENTS, 'roll1', 'roll2';
}

# How many keys have been answered; only those of which the commit was.
sub read_acknowledged
{
	for my $client (1 .. $CLIENTS)
	{
		next if !-e "$dir/$client.$round.out";
		$acknowledged{$_} = 1 for slurp_file("$dir/$client.$round.out") =~ /^done (\S+)\n/mg;
	}
	return scalar keys %acknowledged;
}

sub check_keys
{
	my ($when) = @_;
	my %count = map { split /\|/ } split /\n/, sql('SELECT idempotency_key, count(*) FROM svc_usage WHERE idempotency_key IS NOT NULL GROUP BY 1');

	is_deeply([ grep { ($count{$_} // 0) != 1 } sort keys %acknowledged ], [], "$when: each acknowledged record is there, once");
	return;
}
