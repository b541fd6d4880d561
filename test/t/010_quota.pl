# Many clients on one quota: exactly the quota is consumed.
#
# One psql has one connection, and an isolation spec only the interleavings
# that somebody thought of.  Here 16 clients at once run into the end of a
# quota that is smaller than what they ask for, in four ways: plainly; with
# rollbacks and savepoints, over two stacked grants; with idempotency keys that
# two clients share and both retry; and at the stricter isolation levels.
#
# Each call is entered into a table of the application's own, in the same
# transaction, so that what callers were told can be added up as well.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SVC_TEST_SEED} // int(rand(2**31));
note "seed: $seed; SVC_TEST_SEED=$seed repeats the clients' choices";

my $node = PostgreSQL::Test::Cluster->new('quota');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION svc;
	SELECT svc_install();
	CREATE TABLE call (
		customer_id text NOT NULL, key text,
		allowed boolean, remaining numeric, consumed numeric, replayed boolean);
});

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Create a customer with grants of api_calls, [id, limit, priority] each.
sub grant_quota
{
	my ($customer, @grants) = @_;

	sql("SELECT svc_create_customer('{\"id\": \"$customer\", \"name\": \"Ada\", \"status\": \"active\"}')");
	sql("SELECT svc_grant_entitlement('$customer', 'api_calls', $_->[1], priority => $_->[2], id => '$_->[0]')")
	  for @grants;
}

# Run a script with a number of clients and transactions for each.
sub run_clients
{
	my ($name, $clients, $transactions, $script, @options) = @_;

	$node->pgbench(
		"--no-vacuum --client=$clients --jobs=2 --transactions=$transactions --random-seed=$seed",
		0,
		[
			qr{processed: @{[ $clients * $transactions ]}/@{[ $clients * $transactions ]}},
			qr{failed transactions: 0 \(},
		],
		[qr{^pgbench: setting random seed to $seed$}],
		"$name: no client meets an error",
		{ "010_$name" => $script },
		@options);
}

# What must hold when a quota has been used up, whatever happened on the way.
sub check_books
{
	my ($name, $customer, @grants) = @_;
	my $quota = 0;

	$quota += $_->[1] for @grants;
	is(sql("SELECT id, status, used_amount, remaining_amount FROM svc_entitlement"
			. " WHERE customer_id = '$customer' ORDER BY id"),
		join("\n", map { "$_->[0]|exhausted|$_->[1]|0" } sort { $a->[0] cmp $b->[0] } @grants),
		"$name: exactly the quota is used");
	is(sql("SELECT sum(consumed) FROM call WHERE customer_id = '$customer' AND NOT replayed"),
		$quota, "$name: callers were told yes for exactly the quota");
	is( sql("SELECT count(*) FROM call WHERE customer_id = '$customer'"
			  . " AND allowed IS DISTINCT FROM (consumed > 0)"),
		0, "$name: yes means consumed, no means not");
	cmp_ok(sql("SELECT count(*) FROM call WHERE customer_id = '$customer' AND NOT allowed"),
		'>', 0, "$name: and some were told no");
	is( sql(qq{
		SELECT entitlement_id, sum(amount), min(seq), max(seq) - count(*)
		FROM svc_entitlement_ledger WHERE customer_id = '$customer'
		GROUP BY entitlement_id ORDER BY entitlement_id}),
		join("\n", map { "$_->[0]|$_->[1]|1|0" } sort { $a->[0] cmp $b->[0] } @grants),
		"$name: the ledger sums up to it and is numbered without holes");
	is( sql(qq{
		SELECT id FROM svc_entitlement e WHERE customer_id = '$customer'
		AND ledger_seq <> (SELECT count(*) FROM svc_entitlement_ledger l
						   WHERE l.customer_id = e.customer_id AND l.entitlement_id = e.id)}),
		'', "$name: a grant's counter is the number of its ledger rows");
	is( sql(qq{
		SELECT entity_id, string_agg(event, ' ' ORDER BY revision),
			   min(revision), max(revision) - count(*)
		FROM svc_event WHERE customer_id = '$customer' AND noun = 'entitlement'
		GROUP BY entity_id ORDER BY entity_id}),
		join("\n",
			map { "$_->[0]|granted consumed exhausted|1|0" } sort { $a->[0] cmp $b->[0] } @grants),
		"$name: one exhausted event for each grant, revisions without holes");
	is( sql(qq{
		SELECT id FROM svc_entitlement e WHERE customer_id = '$customer'
		AND revision <> (SELECT max(revision) FROM svc_event v
						 WHERE v.customer_id = e.customer_id AND v.entity_id = e.id)}),
		'', "$name: a grant's revision is that of its last event");
}

# ---- plainly ----

my @grants = (['e1', 5000, 100]);

grant_quota('plain', @grants);
run_clients('plain', 16, 500, q{
	INSERT INTO call (customer_id, allowed, consumed, replayed)
	SELECT 'plain', allowed, consumed, replayed
	FROM svc_consume_entitlement('plain', 'api_calls');
});
check_books('plain', 'plain', @grants);
is(sql("SELECT count(*), count(*) FILTER (WHERE allowed) FROM call WHERE customer_id = 'plain'"),
	'8000|5000', 'plain: of 8000 calls 5000 are allowed');

# ---- with rollbacks and savepoints, over two grants ----

@grants = (['plan', 5000, 100], ['promotion', 2000, 50]);

my $call = q{
	INSERT INTO call (customer_id, allowed, consumed, replayed)
	SELECT 'torn', allowed, consumed, replayed
	FROM svc_consume_entitlement('torn', 'api_calls', :amount);
};

grant_quota('torn', @grants);
run_clients('torn', 16, 500, qq{
	\\set how random(1, 5)
	\\set amount random(1, 3)
	\\if :how = 1
		BEGIN;
		$call
		ROLLBACK;
	\\elif :how = 2
		BEGIN;
		SAVEPOINT one;
		$call
		ROLLBACK TO one;
		$call
		COMMIT;
	\\elif :how = 3
		BEGIN;
		$call
		SAVEPOINT one;
		$call
		SAVEPOINT two;
		$call
		RELEASE two;
		ROLLBACK TO one;
		COMMIT;
	\\elif :how = 4
		BEGIN;
		SAVEPOINT one;
		$call
		RELEASE one;
		$call
		COMMIT;
	\\else
		$call
	\\endif
});
check_books('torn', 'torn', @grants);
cmp_ok(
	sql(q{
		SELECT count(*) FROM svc_entitlement_ledger
		WHERE customer_id = 'torn' AND line = 1}),
	'<=', 1, 'torn: at most one call was split over both grants');

# ---- with idempotency keys ----
#
# Clients 0 and 1 have the same keys in the same order, 2 and 3, and so on, and
# each tries each key twice.  The amount belongs to the key.

@grants = (['e1', 5000, 100]);

$call = q{
	INSERT INTO call (customer_id, key, allowed, remaining, consumed, replayed)
	SELECT 'keys', :key, allowed, remaining, consumed, replayed
	FROM svc_consume_entitlement('keys', 'api_calls', :amount, 'key ' || :key);
};

grant_quota('keys', @grants);
run_clients('keys', 16, 500, qq{
	\\set n :n + 1
	\\set amount :n % 3 + 1
	\\set key :client_id / 2 * 1000000 + :n
	$call
	$call
}, '--define=n=0');
check_books('keys', 'keys', @grants);
is( sql(q{
	SELECT count(*), count(DISTINCT idempotency_key)
	FROM svc_entitlement_ledger WHERE customer_id = 'keys'}),
	sql(q{
	SELECT count(DISTINCT key), count(*) FILTER (WHERE allowed AND NOT replayed)
	FROM call WHERE customer_id = 'keys' AND allowed}),
	'keys: each key took effect once');
is( sql(q{
	SELECT key FROM call WHERE customer_id = 'keys' AND allowed
	GROUP BY key HAVING count(DISTINCT (remaining, consumed)) <> 1}),
	'', 'keys: each repeat was given the first answer');
is(sql("SELECT count(*) FROM call WHERE customer_id = 'keys' AND replayed"),
	sql("SELECT 3 * count(*) FROM svc_entitlement_ledger WHERE customer_id = 'keys'"),
	'keys: of four calls with a key that took effect, three are replays');
is( sql(q{
	SELECT count(*) FROM (SELECT DISTINCT key FROM call WHERE customer_id = 'keys' AND allowed) c
	CROSS JOIN LATERAL svc_consume_entitlement(
		'keys', 'api_calls', key::bigint % 1000000 % 3 + 1, 'key ' || key) a
	WHERE NOT a.allowed OR NOT a.replayed}),
	0, 'keys: retried when all is over, each has its yes');
check_books('keys, retried', 'keys', @grants);

# ---- at the stricter isolation levels ----
#
# Who is told 40001 tries again.

for my $level ('repeatable read', 'serializable')
{
	my $customer = $level =~ s/ /_/r;

	@grants = (['e1', 300, 100]);
	grant_quota($customer, @grants);
	local $ENV{PGOPTIONS} = '-c default_transaction_isolation=' . $level =~ s/ /\\ /r;
	run_clients($customer, 8, 50, qq{
		INSERT INTO call (customer_id, key, allowed, consumed, replayed)
		SELECT '$customer', current_setting('transaction_isolation'), allowed, consumed, replayed
		FROM svc_consume_entitlement('$customer', 'api_calls');
	}, '--max-tries=100000');
	check_books($level, $customer, @grants);
	is(sql("SELECT DISTINCT key FROM call WHERE customer_id = '$customer'"),
		$level, "$level: that was the level");
}

$node->stop;
done_testing();
