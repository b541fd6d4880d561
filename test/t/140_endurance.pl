# A million consumes in one session on a thousand grants: the session's memory
# does not grow, and neither does the table.
#
# A plpgsql loop makes the calls, because that is the fastest client there is.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $GRANTS = 1000;
my $ROUNDS = 1000;
my $GROWTH_MAX = 1024 * 1024;

my $node = PostgreSQL::Test::Cluster->new('endurance');
$node->init;
$node->append_conf('postgresql.conf', "log_statement = none\nautovacuum = off\nmax_wal_size = 4GB\n");
$node->start;
$node->safe_psql('postgres', qq{
	CREATE EXTENSION svc;
	SELECT svc_install();
	SELECT svc_create_customer(jsonb_build_object('id', 'c' || i, 'name', 'Ada', 'status', 'active')),
		   svc_grant_entitlement('c' || i, 'api_calls', 100000000, id => 'g')
	FROM generate_series(1, $GRANTS) i;
	CREATE PROCEDURE consume(rounds int, commits bool) LANGUAGE plpgsql AS \$\$
	BEGIN
		FOR round IN 1 .. rounds LOOP
			FOR c IN 1 .. $GRANTS LOOP
				PERFORM FROM svc_consume_entitlement('c' || c, 'api_calls', 1, 'key ' || gen_random_uuid());
			END LOOP;
			IF commits THEN
				COMMIT;
			END IF;
		END LOOP;
	END \$\$;
	CREATE FUNCTION memory() RETURNS bigint LANGUAGE sql AS
		\$\$SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts
		WHERE name NOT IN ('Combo CIDs', 'AfterTriggerEvents')\$\$;
});

# What PostgreSQL notes until the end of a transaction about rows that it updates
# again and again is left out: a plain UPDATE costs just as much.

# The growth of a session's memory in so many rounds, after a few to warm up.
sub growth
{
	my ($rounds, $settings, $in_transaction) = @_;
	my ($commits, $begin, $end) = $in_transaction ? ('false', 'BEGIN;', 'COMMIT;') : ('true', '', '');
	my @memory = split /\n/, $node->safe_psql('postgres', qq{
		$settings
		$begin
		CALL consume(3, $commits);
		SELECT memory();
		SELECT memory();
		CALL consume($rounds, $commits);
		SELECT memory();
		$end
	});

	note "memory: @memory";
	return $memory[2] - $memory[1];
}

cmp_ok(growth(50, '', 1), '<', $GROWTH_MAX, 'memory in a transaction of 50,000 consumes');
cmp_ok(growth(30, 'SET svc.direct_access = off;', 1), '<', $GROWTH_MAX, 'memory in a transaction of 30,000 consumes by SPI');

$node->safe_psql('postgres', "VACUUM svc_entitlement; SELECT pg_stat_reset()");
my $size = $node->safe_psql('postgres', "SELECT pg_relation_size('svc_entitlement')");

cmp_ok(growth($ROUNDS, '', 0), '<', $GROWTH_MAX, 'memory in a million consumes');

$node->poll_query_until('postgres', "SELECT n_tup_upd >= $GRANTS * $ROUNDS FROM pg_stat_user_tables WHERE relname = 'svc_entitlement'")
  or die 'the statistics are not complete';
my $share = $node->safe_psql('postgres', "SELECT round(100.0 * n_tup_hot_upd / n_tup_upd, 1) FROM pg_stat_user_tables WHERE relname = 'svc_entitlement'");

cmp_ok($share, '>=', 95, "of the updates $share percent are HOT");
cmp_ok($node->safe_psql('postgres', "SELECT pg_relation_size('svc_entitlement')"), '<=', 1.5 * $size, 'the table stays as large as it is');
is( $node->safe_psql('postgres', q{
		SELECT count(*), sum(used_amount) = (SELECT sum(amount) FROM svc_entitlement_ledger) FROM svc_entitlement WHERE used_amount = ledger_seq}),
	"$GRANTS|t", 'and what is counted is right');

$node->stop;
done_testing();
