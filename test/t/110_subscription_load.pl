# 5,000 subscriptions through 14 months, by four schedulers at once, of which the
# whole server is killed again and again.
#
# Promise: svc_run_due() does everything once, whoever else runs it, and whatever
# dies on the way.  Fourteen months pass in steps of a day; each scheduler goes
# through all of them, and after a crash from the beginning, while customers
# consume and change their subscriptions.  Afterwards each subscription has
# exactly the renewals that PostgreSQL's own calendar counts.
#
# psql cannot show this: it has one connection, and does not kill its server.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use IPC::Run;
use KillAll;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $SUBSCRIPTIONS = 5000;
my $DAYS = 425;
my $SCHEDULERS = 4;
my $CUSTOMERS_AT_WORK = 2;
my $CRASHES = 5;		# the first ones before all is done
my $FIRST = "'2027-10-31 09:00Z'";

my $node = PostgreSQL::Test::Cluster->new('subscription_load');
$node->init;
$node->append_conf('postgresql.conf', qq{
log_statement = none
log_min_error_statement = panic
fsync = on
synchronous_commit = off
deadlock_timeout = 20ms
timezone = UTC
});
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION svc;
	SELECT svc_install();
	SELECT svc_create_plan('{"id": "month", "name": "Month", "price": 10, "limits": {"calls": 100, "seats": {"limit": 5, "reset_period": "never"}}}');
	SELECT svc_create_plan('{"id": "less", "name": "Less", "price": 5, "limits": {"calls": 20}}');
	SELECT svc_create_plan('{"id": "trial", "name": "Trial", "price": 10, "trial_days": 14, "limits": {"calls": 50}}');
	SELECT svc_create_customer(jsonb_build_object('id', 'c' || n, 'name', 'C', 'status', 'active',
			   'timezone', (ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata'])[1 + n % 4],
			   'payment_method', CASE WHEN n % 10 <> 3 THEN 'card' END))
	FROM generate_series(1, $SUBSCRIPTIONS) n;
	-- one in three is on trial, one in seven is to be cancelled, one in eleven
	-- becomes smaller; they begin on the last days of October and the first of November
	SELECT svc_create_subscription('c' || n, CASE WHEN n % 3 = 0 THEN 'trial' ELSE 'month' END, properties => '{"id": "s"}',
			   at => ${FIRST}::timestamptz + (n % 5) * interval '1 day')
	FROM generate_series(1, $SUBSCRIPTIONS) n;
	SELECT svc_cancel_subscription('c' || n, 's', true, at => ${FIRST}::timestamptz + interval '5 days')
	FROM generate_series(1, $SUBSCRIPTIONS) n WHERE n % 7 = 0;
	SELECT svc_downgrade_subscription('c' || n, 's', 'less', at_period_end => true, at => ${FIRST}::timestamptz + interval '5 days')
	FROM generate_series(1, $SUBSCRIPTIONS) n WHERE n % 11 = 0 AND n % 7 <> 0;

	CREATE PROCEDURE schedule() LANGUAGE plpgsql AS \$\$
	DECLARE
		n bigint;
	BEGIN
		FOR day IN 1 .. $DAYS LOOP
			LOOP
				SELECT sum(done) INTO n FROM svc_run_due(${FIRST}::timestamptz + day * interval '1 day', 50);
				COMMIT;
				EXIT WHEN n = 0;
			END LOOP;
		END LOOP;
	END \$\$;
	CREATE PROCEDURE work(rounds int) LANGUAGE plpgsql AS \$\$
	DECLARE
		customer text;
		now_there timestamptz;
	BEGIN
		FOR n IN 1 .. rounds LOOP
			customer := 'c' || 1 + floor(random() * $SUBSCRIPTIONS);
			BEGIN
				SELECT current_period_start + interval '1 day' INTO now_there FROM svc_subscription WHERE customer_id = customer;
				IF random() < 0.8 THEN
					PERFORM svc_consume_entitlement(customer, 'calls', (1 + floor(random() * 30))::int, mode => 'cap', at => now_there);
				ELSE
					PERFORM svc_update_subscription(customer, 's', jsonb_build_object('quantity', (1 + floor(random() * 3))::int), at => now_there);
				END IF;
			EXCEPTION WHEN SQLSTATE '22023' OR SQLSTATE 'SV001' THEN
				NULL;	-- time, or its end, has passed meanwhile
			END;
			COMMIT;
			PERFORM pg_sleep(0.003);
		END LOOP;
	END \$\$;
});

# A client that comes again until it is through.
sub start_client
{
	my ($call) = @_;
	my $out = '';
	my $handle = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', $call ],
		'<', \undef, '>', \$out, '2>&1');

	return { call => $call, handle => $handle, out => \$out };
}

my $started = time();
my @clients = map { start_client('CALL schedule()') } 1 .. $SCHEDULERS;
push @clients, start_client('CALL work(1000000)') for 1 .. $CUSTOMERS_AT_WORK;
my @errors;

for my $crash (1 .. $CRASHES)
{
	usleep(4_000_000 + int(rand(2_000_000)));
	kill_all($node);
	for my $client (@clients)
	{
		IPC::Run::finish($client->{handle});
		push @errors, grep { !/server closed|terminated abnormally|before or while|connection|FATAL|SSL|^\s*$/ } split /\n/, ${ $client->{out} };
	}
	$node->start;
	@clients = map { start_client($_->{call}) } @clients;
}
note sprintf '%.0f s until the last crash', time() - $started;
note $node->safe_psql('postgres', "SELECT count(*) || ' renewals by then' FROM svc_event WHERE event = 'renewed'");
for my $client (@clients[0 .. $SCHEDULERS - 1])
{
	IPC::Run::finish($client->{handle});
	push @errors, grep { !/^\s*$/ } split /\n/, ${ $client->{out} };
}
for my $client (@clients[$SCHEDULERS .. $#clients])
{
	$client->{handle}->signal('INT');
	IPC::Run::finish($client->{handle});
	push @errors, grep { !/cancel|^Cancel|^CONTEXT|^SQL|^PL|^\s*$/ } split /\n/, ${ $client->{out} };
}
note sprintf '%.0f s in all', time() - $started;
is(join("\n", @errors), '', 'nobody had an error but those that were killed');

sub none
{
	my ($what, $sql) = @_;

	is($node->safe_psql('postgres', "SELECT * FROM ($sql) x LIMIT 5"), '', $what);
}

my $end = "${FIRST}::timestamptz + $DAYS * interval '1 day'";
$node->safe_psql('postgres', "SELECT svc_run_due($end)");	# what customers have used since
is($node->safe_psql('postgres', "SELECT sum(done) FROM svc_run_due($end)"), '0', 'nothing is left to be done');
none('svc_verify() finds nothing', 'SELECT * FROM svc_verify()');
none('revisions run without holes', q{SELECT * FROM (SELECT noun, customer_id, entity_id, revision,
	row_number() OVER (PARTITION BY noun, customer_id, entity_id ORDER BY revision) AS n FROM svc_event) e WHERE n <> revision});

# The story of each, by the server's calendar: periods that end at the anchor
# plus n months, on its clock.
my $expected = qq{
	SELECT s.customer_id, s.status, s.plan_id, n.number,
		CASE WHEN n.number % 3 = 0 AND n.number % 10 = 3 AND n.number % 7 <> 0 THEN 'expired'
			WHEN n.number % 7 = 0 THEN 'cancelled' ELSE 'active' END AS status_expected,
		CASE WHEN n.number % 3 = 0 AND n.number % 10 = 3 OR n.number % 7 = 0 THEN 0 ELSE (SELECT count(*) FROM generate_series(1, 20) m
			WHERE (s.billing_anchor AT TIME ZONE k.timezone + m * interval '1 month') AT TIME ZONE k.timezone <= $end) END AS renewals_expected,
		(SELECT count(*) FROM svc_event e WHERE e.noun = 'subscription' AND e.customer_id = s.customer_id AND e.event = 'renewed') AS renewals,
		(SELECT count(*) FROM svc_event e WHERE e.noun = 'subscription' AND e.customer_id = s.customer_id AND e.event = 'trialEnded') AS trials,
		(SELECT count(*) FROM svc_event e WHERE e.noun = 'subscription' AND e.customer_id = s.customer_id AND e.event = 'downgraded') AS downgrades
	FROM svc_subscription s JOIN svc_customer k ON k.id = s.customer_id, LATERAL (SELECT substr(s.customer_id, 2)::int AS number) n};
none('each has the renewals that the calendar counts', "SELECT * FROM ($expected) e WHERE renewals <> renewals_expected");
none('each has the status that it is to have', "SELECT * FROM ($expected) e WHERE status <> status_expected");
none('trials have ended once', "SELECT * FROM ($expected) e WHERE trials <> CASE WHEN number % 3 = 0 AND number % 7 <> 0 THEN 1 ELSE 0 END");
none('plans have changed once', "SELECT * FROM ($expected) e WHERE downgrades <>
	CASE WHEN number % 11 = 0 AND number % 7 <> 0 THEN 1 ELSE 0 END OR (downgrades = 1) <> (plan_id = 'less')");
none('each renewal begins where the period before has ended', q{SELECT * FROM (SELECT customer_id, revision,
		changes -> 'current_period_start' ->> 'new' AS start, changes -> 'current_period_end' ->> 'old' AS previous
	FROM svc_event WHERE noun = 'subscription' AND event = 'renewed') e WHERE start IS DISTINCT FROM previous});
none('what has ended grants nothing, what goes on grants once', q{SELECT s.customer_id, s.status FROM svc_subscription s
	WHERE (SELECT count(*) FROM svc_entitlement e WHERE e.customer_id = s.customer_id AND e.status <> 'revoked' AND e.code = 'calls')
		<> CASE WHEN s.status = 'active' THEN 1 ELSE 0 END});
ok($node->safe_psql('postgres', "SELECT count(*) FROM svc_entitlement_ledger WHERE kind = 'consume'") > 1000, 'customers have consumed meanwhile');

$node->stop;
done_testing();
