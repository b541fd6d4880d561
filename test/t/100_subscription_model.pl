# A year and more of subscriptions, done in time and done late.
#
# Promise: what time makes due happens at its own instant, whenever it is
# written down.  The same random flows run in two databases.  In one svc_run_due()
# is called every midnight, in the other never before the end: each answer on the
# way, and at the end each row, is the same, but for what says when it was
# written, and for resets, of which one row of the ledger may stand for several.
#
# psql cannot show this: a single flow would show one order of things.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(strftime);
use Test::More;

my $seed = $ENV{SVC_TEST_SEED} || int(rand(2**31));
note "seed: $seed; repeat with SVC_TEST_SEED=$seed";
srand($seed);

use constant {
	DAYS => 420,
	CUSTOMERS => 14,
	STEPS_A_DAY => 6,
	START => 1_831_248_000,		# 2028-01-11, so that 29 February is among the days
};

my $node = PostgreSQL::Test::Cluster->new('subscriptions');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
log_min_messages = fatal
fsync = off
timezone = UTC
});
$node->start;

# ---- the world before the first day ----

my $setup = q{
SET client_min_messages = warning;
CREATE EXTENSION svc;
SELECT svc_install();
SELECT svc_create_plan('{"id": "free", "name": "Free", "price": 0, "trial_days": 5, "limits": {"calls": 20, "seats": {"limit": 1, "reset_period": "never"}}}');
SELECT svc_create_plan('{"id": "small", "name": "Small", "price": 9, "limits": {"calls": {"limit": 100, "rollover_max": 30},
    "seats": {"limit": 3, "reset_period": "never"}, "tokens": {"limit": 10, "reset_period": "daily"}}}');
SELECT svc_create_plan('{"id": "big", "name": "Big", "price": 49, "trial_days": 14, "overage_price": 0.1, "annual_discount": 10,
    "limits": {"calls": {"limit": 300, "overage": "allow"}, "seats": {"limit": 9, "reset_period": "never"}, "sso": true,
               "tokens": {"limit": 50, "reset_period": "weekly", "overage": "allow", "overage_limit": 20, "carry_overage": true}}}');
SELECT svc_create_plan('{"id": "year", "name": "Year", "price": 400, "billing_interval": "yearly", "limits": {"calls": 1000, "sso": true}}');
SELECT svc_create_plan('{"id": "extra", "name": "Extra", "price": 5, "overage_price": 1, "limits": {"calls": 40, "gigs": {"limit": 5, "reset_period": "never"}}}');
CREATE FUNCTION try(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE call INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || regexp_replace(SQLERRM, '(inv|ent)_\w+', '\1', 'g');
END $$;
};
my @zones = qw(UTC Europe/Berlin America/New_York Australia/Lord_Howe Pacific/Kiritimati);
for my $n (1 .. CUSTOMERS)
{
	my $pays = $n % 3 ? ', "payment_method": "card"' : '';

	$setup .= qq{SELECT svc_create_customer('{"id": "c$n", "name": "C", "status": "active", "timezone": "$zones[$n % @zones]"$pays}');\n};
}

# ---- the flows ----

sub pick { return $_[ int(rand(@_)) ]; }
sub instant { return strftime("'%Y-%m-%d %H:%M:%SZ'", gmtime($_[0])); }

my %subscriptions;	# of each customer: how many were made

# One step, as a call of one column, with its instant.
sub step
{
	my ($at) = @_;
	my $customer = 'c' . (1 + int(rand(CUSTOMERS)));
	my $count = $subscriptions{$customer} // 0;
	my $kind = rand();
	my $plan = pick(qw(free small big year));
	my $bool = pick('true', 'false');

	if ($count == 0 || ($count < 6 && $kind < 0.03))
	{
		my $id = 's' . ++$subscriptions{$customer};
		my $trial = pick('NULL', 'NULL', 0, 3, 40);
		my $cycle = pick('{}', '{}', '{"billing_cycle": "monthly"}', '{"billing_cycle": "yearly"}');
		my $addons = pick('NULL', 'NULL', q('{"extra": 1}'), q('{"extra": {"quantity": 2, "price": 3}}'));
		my $quantity = pick(1, 1, 2);
		my $anchor = pick('NULL', 'NULL', instant($at + 86400 * int(rand(20))));

		return "SELECT svc_create_subscription('$customer', '$plan', $quantity, $trial, $anchor, $addons, $bool,"
		  . qq{ '{"id": "$id"}'::jsonb || '$cycle'::jsonb, } . instant($at) . ')';
	}
	my $keys = "'$customer', 's" . (1 + int(rand($count))) . "'";
	my $at_sql = 'at => ' . instant($at);

	if ($kind < 0.60)
	{
		my $code = pick(qw(calls calls calls tokens tokens seats gigs sso));
		my $amount = pick(1, 3, 10, 25, 60, -2, -15);
		my $mode = $amount < 0 ? 'cap' : pick(qw(reject reject reject cap overflow));

		return "SELECT concat_ws(' ', allowed, reason, consumed, overage, remaining, reset_at) FROM"
		  . " svc_consume_entitlement('$customer', '$code', $amount, mode => '$mode', $at_sql)";
	}
	return "SELECT svc_upgrade_subscription($keys, '$plan', at_period_end => $bool, carry_usage => "
	  . pick('true', 'true', 'false') . ", billing_cycle => " . pick('NULL', "'yearly'", "'monthly'") . ", $at_sql)"
	  if $kind < 0.66;
	return "SELECT svc_downgrade_subscription($keys, '$plan', at_period_end => true, $at_sql)" if $kind < 0.71;
	return "SELECT svc_cancel_subscription($keys, " . pick('true', 'true', 'true', 'false') . ", $at_sql)" if $kind < 0.74;
	return "SELECT svc_uncancel_subscription($keys, $at_sql)" if $kind < 0.77;
	return "SELECT svc_pause_subscription($keys, $at_sql)" if $kind < 0.79;
	return "SELECT svc_resume_subscription($keys, $at_sql)" if $kind < 0.83;
	return "SELECT svc_renew_subscription($keys, $at_sql)" if $kind < 0.835;
	return "SELECT svc_activate_subscription($keys, $at_sql)" if $kind < 0.85;
	return "SELECT svc_update_subscription($keys, '{\"quantity\": " . pick(1, 2, 3) . "}', $at_sql)" if $kind < 0.87;
	return "SELECT svc_update_subscription($keys, '{\"addons\": " . pick('null', '{"extra": 1}', '{"extra": 3}') . "}', $at_sql)"
	  if $kind < 0.89;
	return "SELECT svc_update_subscription($keys, '{\"scheduled_plan_id\": null}', $at_sql)" if $kind < 0.90;
	return "SELECT CASE WHEN svc_create_invoice_for($keys, due_date => " . instant($at + 86400 * int(rand(15)))
	  . ", $at_sql) IS NOT NULL THEN 'made' END" if $kind < 0.93;

	my $invoice = "(SELECT id FROM svc_invoice WHERE (customer_id, subscription_id) = ($keys)"
	  . " AND status <> 'void' ORDER BY period_start DESC LIMIT 1)";
	return "SELECT svc_finalize_invoice('$customer', $invoice, $at_sql)" if $kind < 0.96;
	return "SELECT svc_pay_invoice('$customer', $invoice, $at_sql)" if $kind < 0.997;
	return "SELECT svc_void_invoice('$customer', $invoice, $at_sql)";
}

my (%script, $steps);
for my $day (0 .. DAYS - 1)
{
	my $midnight = START + 86400 * $day;

	$script{daily} .= 'SELECT sum(done) FROM svc_run_due(' . instant($midnight) . ");\n";
	for my $at (sort { $a <=> $b } map { $midnight + int(rand(86400)) } 1 .. STEPS_A_DAY)
	{
		my $call = step($at);

		$steps++;
		$script{$_} .= "SELECT 'step $steps: ' || coalesce(try(\$call\$$call\$call\$), 'null') || ' <- ' || \$call\$$call\$call\$;\n"
		  for qw(daily late);
	}
}

# ---- the end, and what is to be the same ----

my $end = instant(START + 86400 * DAYS);
my $finish = qq{SELECT sum(done) FROM svc_run_due($end, 100000);\n};
my %same = (
	'subscriptions' => q{SELECT to_jsonb(s) - 'updated_at' FROM svc_subscription s ORDER BY customer_id, id},
	'grants' => q{SELECT to_jsonb(e) - '{id,revision,updated_at,ledger_seq}'::text[] FROM svc_entitlement e
		ORDER BY customer_id, subscription_id, code, source, source_id, created_at, status, limit_amount, used_amount},
	'the ledger' => q{SELECT to_jsonb(l) - '{entitlement_id,seq,recorded_at}'::text[] || jsonb_build_object('source', e.source, 'made', e.created_at)
		FROM svc_entitlement_ledger l JOIN svc_entitlement e ON e.customer_id = l.customer_id AND e.id = l.entitlement_id
		WHERE l.kind <> 'reset'
		ORDER BY l.customer_id, e.subscription_id, l.occurred_at, l.kind, e.code, e.source, e.created_at, l.line, l.amount},
	'invoices' => q{SELECT to_jsonb(i) - '{id,number,updated_at}'::text[] FROM svc_invoice i ORDER BY customer_id, subscription_id, period_start, created_at, status},
	'periods' => 'SELECT * FROM svc_subscription_period p ORDER BY customer_id, subscription_id, period_start',
	'events of subscriptions' => q{SELECT customer_id, entity_id, revision, event, action, from_status, to_status, changes
		FROM svc_event WHERE noun = 'subscription' ORDER BY customer_id, entity_id, revision},
);

# What must hold, whoever wrote it.
my %none = (
	'svc_verify() finds nothing' => 'SELECT * FROM svc_verify()',
	'nothing is due any more' => qq{SELECT id, due_at FROM svc_subscription WHERE due_at <= $end},
	'what has ended grants nothing' => q{SELECT s.id, e.code, e.status FROM svc_subscription s JOIN svc_entitlement e
		ON e.customer_id = s.customer_id AND e.subscription_id = s.id
		WHERE s.status IN ('cancelled', 'expired') AND e.status <> 'revoked'},
	'what goes on grants what its terms say' => q{SELECT s.customer_id, s.id, s.status, s.plan_id, s.quantity, g.addon_id, g.code, g.limit_amount,
			(SELECT json_agg(json_build_array(e.source, e.source_id, e.status, e.limit_amount)) FROM svc_entitlement e
			 WHERE e.customer_id = s.customer_id AND e.subscription_id = s.id AND e.code = g.code) FROM svc_subscription s,
		svc_terms_grants(s.terms, s.quantity, s.billing_cycle, s.addons) g
		WHERE s.status NOT IN ('cancelled', 'expired') AND 1 <> (SELECT count(*) FROM svc_entitlement e
			WHERE e.customer_id = s.customer_id AND e.subscription_id = s.id AND e.code = g.code AND e.status <> 'revoked'
			AND (e.source = 'addon') = (g.addon_id IS NOT NULL) AND e.limit_amount IS NOT DISTINCT FROM g.limit_amount)},
	'a period that renews begins where the one before ended' => q{SELECT * FROM (SELECT customer_id, entity_id, revision, event,
			changes -> 'current_period_start' ->> 'new' AS start, changes -> 'current_period_end' ->> 'old' AS previous
		FROM svc_event WHERE noun = 'subscription' AND event = 'renewed') e WHERE start IS DISTINCT FROM previous},
	'nobody active has a period that is over' => qq{SELECT id FROM svc_subscription WHERE status = 'active' AND current_period_end <= $end},
	'revisions run without holes' => q{SELECT * FROM (SELECT noun, customer_id, entity_id, revision, row_number() OVER
		(PARTITION BY noun, customer_id, entity_id ORDER BY revision) AS n FROM svc_event) e WHERE n <> revision},
);

my (%answers, %rows);

for my $world (qw(daily late))
{
	$node->safe_psql('postgres', "CREATE DATABASE $world");
	$node->safe_psql($world, $setup);
	my ($rc, $out, $err) = $node->psql($world, $script{$world} . $finish, extra_params => ['-At']);

	is($err, '', "$world: no warning and no error");
	$answers{$world} = [ grep { /^step / } split /\n/, $out ];
	$rows{$world}{$_} = $node->safe_psql($world, $same{$_}) for keys %same;
	is($node->safe_psql($world, $none{$_}), '', "$world: $_") for sort keys %none;
}
is(scalar @{ $answers{late} }, $steps, "$steps steps were made");

my $different = 0;
for my $n (0 .. $steps - 1)
{
	next if $answers{daily}[$n] eq $answers{late}[$n];
	diag("in time: $answers{daily}[$n]\nlate:    $answers{late}[$n]") if $different++ < 5;
}
is($different, 0, 'each answer on the way is the same');
for my $what (sort keys %same)
{
	my @daily = split /\n/, $rows{daily}{$what};
	my @late = split /\n/, $rows{late}{$what};
	my @at = grep { ($daily[$_] // '') ne ($late[$_] // '') } 0 .. ($#daily > $#late ? $#daily : $#late);

	diag("in time: " . ($daily[$_] // '-') . "\nlate:    " . ($late[$_] // '-')) for @at[0 .. (@at > 3 ? 2 : $#at)];
	is(scalar @at, 0, "the same: " . scalar(@daily) . " rows of $what");
}

# It was a real mixture.
my %seen = map { split /\|/ } split /\n/, $node->safe_psql('late',
	"SELECT event, count(*) FROM svc_event WHERE noun IN ('subscription', 'invoice') GROUP BY event");
ok(($seen{$_} // 0) >= 1, "$_ has occurred") for qw(trialEnded activated expired renewed upgraded downgraded cancelled paused resumed
	pastDue overdue paid);
my $allowed = grep { /: t / } @{ $answers{late} };
my $denied = grep { /: f / } @{ $answers{late} };
my $refused = grep { /: (SV|22)/ } @{ $answers{late} };
note "$allowed consumes allowed, $denied denied, $refused calls refused";
ok($allowed > 200 && $denied > 50 && $refused > 50, 'consumes were allowed and denied, calls refused');

$node->stop;
diag "SVC_TEST_SEED=$seed" unless Test::More->builder->is_passing;
done_testing();
