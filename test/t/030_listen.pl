# A listening client hears of each committed event once, in order, and of
# nothing else.
#
# psql cannot show this by itself: the listener must be another connection that
# is there all the time, and silence can only be proved by something that comes
# after it.  So each silence ends with a NOTIFY of the test's own: what was
# sent before it is delivered before it.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SVC_TEST_SEED} // int(rand(2**31));
note "seed: $seed; SVC_TEST_SEED=$seed repeats the clients' choices";

my $node = PostgreSQL::Test::Cluster->new('listen');
$node->init;
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\ntimezone = 'Asia/Kolkata'\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION svc;
	SELECT svc_install();
	CREATE ROLE visitor LOGIN;
});

# A role without any rights can listen, so this is what everybody can hear.
my @listeners = map {
	my $psql = $node->background_psql('postgres', extra_params => [ '-U', 'visitor' ]);
	$psql->query_safe('LISTEN svc');
	$psql;
} (1 .. 2);

my $DATA = '"name": "Ada Lovelace", "email": "ada@example.com", "phone": "555-0100"';
my $SECRET = qr/Ada|Lovelace|example|555-0100|Miss|Babbage|reasons/;
my $ends = 0;

# ---- once, and in order ----

hears_log_of('one notification for each event of a transaction, in their order', qq{
	BEGIN;
	SELECT svc_create_customer('{"id": "c1", "status": "active", $DATA}');
	SELECT svc_grant_entitlement('c1', 'api_calls', 3, id => 'e1', name => 'Babbage');
	UPDATE svc_customer SET name = 'Miss Lovelace' WHERE id = 'c1';
	COMMIT;
});
is(scalar(() = log_since(0)), 3, 'which are three');

hears_log_of('each of several transactions', join('',
	map { "SELECT svc_create_customer('{\"id\": \"many $_\", $DATA}');\n" } (1 .. 100)));

hears_log_of('a statement that changes many rows', q{
	UPDATE svc_customer SET status = 'active' WHERE id LIKE 'many%';
});

hears_log_of('made ids, and ids that need escapes', q{
	SELECT svc_grant_entitlement(
		svc_create_customer('{"status": "active", "name": "Ada"}'), 'api_calls', 3);
	SELECT svc_create_customer('{"id": "tab \\t quote \\" back \\\\ é 😀", "name": "Ada"}');
});

# ---- nothing that is not an event ----

hears_nothing('of a consume that leaves the status as it is',
	"SELECT svc_consume_entitlement('c1', 'api_calls')");
hears_nothing('of a consume that is denied',
	"SELECT svc_consume_entitlement('c1', 'api_calls', 3)");
hears_nothing('of an update that changes nothing',
	"UPDATE svc_customer SET name = name WHERE id = 'c1'");
hears_log_of('of a consume, when svc.consumed_events asks for it', q{
	SET svc.consumed_events = on;
	SELECT svc_consume_entitlement('c1', 'api_calls');
});

# ---- nothing that has not happened ----

hears_nothing('of a rollback', q{
	BEGIN;
	SELECT svc_consume_entitlement('c1', 'api_calls');
	UPDATE svc_customer SET status = 'churned' WHERE id = 'c1';
	ROLLBACK;
});
hears_nothing('of a statement that fails', q{
	UPDATE svc_customer SET status = CASE id WHEN 'c1' THEN 'churned' ELSE 'merged' END
	WHERE id IN ('c1', (SELECT svc_create_customer('{"name": "Ada", "status": "suspended"}')));
});
hears_log_of('only what is left after rollbacks to savepoints', q{
	BEGIN;
	UPDATE svc_customer SET status = 'suspended' WHERE id = 'many 1';
	SAVEPOINT one;
	UPDATE svc_customer SET status = 'suspended' WHERE id = 'many 2';
	SELECT svc_consume_entitlement('c1', 'api_calls');
	ROLLBACK TO one;
	UPDATE svc_customer SET status = 'suspended' WHERE id = 'many 3';
	SAVEPOINT two;
	UPDATE svc_customer SET status = 'suspended' WHERE id = 'many 4';
	RELEASE two;
	COMMIT;
});
is( $node->safe_psql('postgres', "SELECT id FROM svc_customer WHERE status = 'suspended' ORDER BY id"),
	"many 1\nmany 3\nmany 4", 'which are three customers');
hears_log_of('the last unit, at last', "SELECT svc_consume_entitlement('c1', 'api_calls')");
is((log_since(0))[-1]->{type}, 'svc.entitlement.exhausted', 'as exhausted');

# ---- not before it has happened ----

my $writer = $node->background_psql('postgres');
my $before = last_event();

$writer->query_safe("BEGIN; UPDATE svc_customer SET status = 'churned' WHERE id = 'many 9'");
hears_nothing('before the commit', 'SELECT 1');
$writer->query_safe('COMMIT');
is_deeply([ heard($listeners[0]) ], [ log_since($before) ], 'hears it after the commit');
heard($listeners[1]);
$writer->quit;

# ---- in two phases: nothing is sent, and the log has it ----

$before = last_event();
my (undef, undef, $stderr) = $node->psql('postgres', q{
	BEGIN;
	UPDATE svc_customer SET status = 'churned' WHERE id = 'many 10';
	PREPARE TRANSACTION 'two phases';
	COMMIT PREPARED 'two phases';
});
is($stderr, '', 'a transaction with events can be prepared');
is(scalar(() = log_since($before)), 1, 'and its event is in the log');

# ---- very many at once: one message for each noun ----

sub batches_of
{
	my ($sql) = @_;
	heard($listeners[0]);
	$node->safe_psql('postgres', $sql);
	return payloads($listeners[0]);
}

my @batches = batches_of(q{
	SET svc.notify_max_per_transaction = 3;
	BEGIN;
	UPDATE svc_customer SET phone = '1' WHERE id IN ('many 1', 'many 2', 'many 3');
	SAVEPOINT s;
	UPDATE svc_customer SET phone = '2' WHERE id IN ('many 1', 'many 2', 'many 3');
	ROLLBACK TO s;
	COMMIT;
});
is(scalar @batches, 3, 'as many as allowed, not counting what was rolled back, come one by one');
@batches = batches_of(q{
	SET svc.notify_max_per_transaction = 3;
	BEGIN;
	UPDATE svc_customer SET phone = '3' WHERE id IN ('many 1', 'many 2', 'many 3');
	SELECT svc_grant_entitlement('many 1', 'batch', 1);
	COMMIT;
});
is(scalar @batches, 2, 'more make one message for each noun');
like($batches[0], qr/^\{"type":"svc\.customer\.batch","count":3,"first_id":\d+,"last_id":\d+\}$/, 'of customers');
like($batches[1], qr/^\{"type":"svc\.entitlement\.batch","count":1,"first_id":(\d+),"last_id":\1\}$/, 'of entitlements');
payloads($listeners[1]);

heard($_) for @listeners;

# ---- many writers ----
#
# Notifications come in the order of commits.  Over all customers that is not
# the order of ids, but each customer's revisions ascend by one.

$node->safe_psql('postgres', q{
	SELECT svc_create_customer(jsonb_build_object('id', n::text, 'name', 'Ada', 'status', 'active'))
	FROM generate_series(1, 5) n;
});
heard($_) for @listeners;
$before = last_event();
my %revision = map { $_ => 1 } (1 .. 5);
$node->pgbench(
	"--no-vacuum --client=8 --jobs=2 --transactions=50 --random-seed=$seed",
	0,
	[qr{processed: 400/400}],
	[qr{^pgbench: setting random seed to $seed$}],
	'eight clients change the status of five customers',
	{
		'030_crowd' => q{
			\set n random(1, 5)
			\set how random(1, 4)
			BEGIN;
			UPDATE svc_customer
			SET status = CASE status WHEN 'active' THEN 'suspended' ELSE 'active' END
			WHERE id = ':n';
			\if :how = 1
				ROLLBACK;
			\else
				COMMIT;
			\endif
		}
	});
for (@listeners)
{
	my @crowd = heard($_);
	my %last = %revision;

	is_deeply([ sort { $a->{id} <=> $b->{id} } @crowd ], [ log_since($before) ],
		'hears each committed event of a crowd once');
	is_deeply([ grep { $_->{revision} != ++$last{ $_->{subject} } } @crowd ], [],
		'each customer\'s in their order');
}

# ---- silence that was asked for ----

$before = last_event();
hears_nothing('with svc.notify = off', q{
	SET svc.notify = off;
	UPDATE svc_customer SET status = 'churned' WHERE id IN ('many 20', 'many 21');
});
is(scalar(() = log_since($before)), 2, 'but the log has the events');
hears_log_of('in the next session, all again',
	"UPDATE svc_customer SET status = 'churned' WHERE id = 'many 22'");

# ---- thin, whatever the ids ----

$node->safe_psql('postgres', q{
	SELECT svc_grant_entitlement(
		svc_create_customer(jsonb_build_object('id', repeat('x', 255), 'name', 'Ada', 'status', 'active')),
		'api_calls', 3, id => repeat('y', 255));
});
my @long = sort { $a <=> $b } map { length } payloads($listeners[0]);
is(scalar @long, 2, 'events of rows with the longest ids');
cmp_ok($long[-1], '<', 8000, 'fit into a notification, too');
payloads($listeners[1]);

$_->quit for @listeners;
$node->stop;
done_testing();

# ---- what the tests above are made of ----

# Raw payloads that a listener has received since it was last asked.
sub payloads
{
	my ($listener) = @_;
	my $end = 'end ' . ++$ends;
	my $output = '';

	$node->safe_psql('postgres', "NOTIFY svc, '$end'");
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$output .= $listener->query_safe('SELECT') . "\n";
		last if $output =~ /payload "$end"/;
		select(undef, undef, undef, 0.1);
	}
	die "the listener has not heard \"$end\"" unless $output =~ /payload "$end"/;
	return grep { !/^end / } $output =~
	  /^Asynchronous notification "svc" with payload "(.*)" received from server process with PID \d+\.$/mg;
}

# The same decoded, each held to what all payloads must be.
sub heard
{
	my ($listener) = @_;
	my @payloads = payloads($listener);
	my @decoded = map { decode_json($_) } @payloads;

	is_deeply([ grep { length >= 300 } @payloads ], [], 'each payload is under 300 bytes');
	is_deeply([ grep { /$SECRET/ } @payloads ], [], 'none has personal data');
	is_deeply(
		[ grep { "@$_" ne 'at customer from id revision subject to type' } map { [ sort keys %$_ ] } @decoded ],
		[], 'each has exactly the documented members');
	return @decoded;
}

# The event log, as notifications should tell it.
sub log_since
{
	my ($id) = @_;

	return map { decode_json($_) } split /\n/, $node->safe_psql('postgres', qq{
		SET timezone = 'UTC';
		SELECT jsonb_build_object('id', id, 'type', type, 'customer', customer_id, 'subject', entity_id,
			'revision', revision, 'from', from_status, 'to', to_status, 'at', occurred_at)
		FROM svc_event WHERE id > $id ORDER BY id});
}

sub last_event
{
	return $node->safe_psql('postgres', 'SELECT coalesce(max(id), 0) FROM svc_event');
}

# Run SQL in a session of its own, and compare what every listener hears of it
# with what the log has of it.
sub hears_log_of
{
	my ($what, $sql) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $since = last_event();

	$node->safe_psql('postgres', $sql);
	my @log = log_since($since);
	cmp_ok(scalar @log, '>', 0, "$what: the log has it");
	is_deeply([ heard($_) ], \@log, "hears $what") for @listeners;
}

sub hears_nothing
{
	my ($what, $sql) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$node->psql('postgres', $sql, on_error_stop => 0);
	is_deeply([ heard($_) ], [], "hears nothing $what") for @listeners;
}
