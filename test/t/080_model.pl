# Entitlements against a model of them: random requests, each answer and each
# row compared.
#
# Promise: whatever is done, in whatever order, the engine answers what the
# rules say; and neither an answer nor a balance depends on when somebody looked
# and so when resets, lapses and expiries were written down.
#
# psql cannot show this: the model is a program of its own, written from the
# rules alone.  It is slow and simple where the engine is fast: it lets n missed
# resets happen one after the other, and it counts in whole thousandths.
#
# There are customers of two kinds.  A single customer gets everything that can
# happen.  A twin exists twice, in two databases: the same is done to both, but
# one is looked at, and svc_run_due() called, after every step of the clock, and
# the other is left alone until the end.  (Two databases, because svc_run_due()
# is for all customers.)
#
# Each customer starts at the server's now(), where limits change and resets are
# made by hand, because such functions know no other instant.  After that the
# clock is the argument "at", and moves on by minutes to years.

use strict;
use warnings;
use integer;
use IPC::Open2;
use List::Util qw(min max sum0 shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::Local qw(timegm);

my $seed = $ENV{SVC_TEST_SEED} // do { no integer; int(rand(2**31)) };
note "seed: $seed; SVC_TEST_SEED=$seed repeats the choices, though not now()";
srand($seed);

# What the customers must meet.
use constant EVERYTHING => (
	'consume ok', 'consume limit_exceeded', 'consume suspended', 'consume expired',
	'consume customer_inactive', 'consume SV013', 'consume SV004', 'consume ok replayed',
	'hold ok', 'settle ok', 'settle limit_exceeded', 'settle SV017', 'release ok', 'several ok',
	'several limit_exceeded', 'several ok replayed', 'reset done', 'update done', 'revoke done');
# How many steps: of a customer at now(), and after that.
use constant STEPS_NOW   => 200;
use constant STEPS_LATER => 550;
use constant CODES       => qw(c0 c1 c2 c3);
use constant {
	SECOND => 1_000_000,
	NEVER  => 9_223_372_036_854_775_807,
	HOUR   => 3600 * 1_000_000,
	DAY    => 86400 * 1_000_000,
};

my $node = PostgreSQL::Test::Cluster->new('model');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
log_min_messages = fatal
fsync = off
timezone = UTC
});
$node->start;

my %session;
for my $database (qw(looked alone))
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, q{
		CREATE EXTENSION svc;
		SELECT svc_install();
		CREATE FUNCTION us(timestamptz) RETURNS bigint IMMUTABLE LANGUAGE sql
			RETURN (extract(epoch FROM $1) * 1000000)::bigint;
	});
	$session{$database} = open_session($database);
}

# ---- a session, by a pipe ----

sub open_session
{
	my ($database) = @_;
	my ($from, $to);

	local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
	my $errors = PostgreSQL::Test::Utils::tempdir . "/$database.err";
	my $pid = open2($from, $to,
		"exec psql -XAtq -d '" . $node->connstr($database) . "' 2>'$errors'");
	my $self = { from => $from, to => $to, pid => $pid, errors => $errors };
	query($self, '\pset null ~');
	return $self;
}

# The rows of a query, each an array; or its SQLSTATE.
sub query
{
	my ($self, $sql) = @_;
	my @rows;
	my $state;

	print { $self->{to} } "$sql\n\\echo end :SQLSTATE\n";
	$self->{to}->flush;
	while (1)
	{
		my $line = readline($self->{from}) // BAIL_OUT("psql ended: $sql\n" . slurp_file($self->{errors}));

		chomp $line;
		if ($line =~ /^end (\S+)$/)
		{
			$state = $1;
			last;
		}
		push @rows, [ map { $_ eq '~' ? undef : $_ } split /\|/, $line, -1 ];
	}
	return (undef, $state) if $state !~ /^(00000|:SQLSTATE)$/;
	return (\@rows, undef);
}

# ---- amounts: whole thousandths ----

sub decimal
{
	my ($n) = @_;

	return 'null' if !defined $n;
	return sprintf('%s%d.%03d', $n < 0 ? '-' : '', abs($n) / 1000, abs($n) % 1000);
}

sub thousandths
{
	my ($text) = @_;

	return undef if !defined $text;
	$text =~ /^(-?)(\d+)(?:\.(\d{1,3})0*)?$/ or return "not in thousandths: $text";
	my $n = $2 * 1000 + substr(($3 // '') . '000', 0, 3);
	return $1 ? -$n : $n;
}

sub random_amount
{
	my ($most) = @_;
	my $kind = int(rand(4));

	return $kind == 0 ? 1 + int(rand($most * 1000)) : 1000 * (1 + int(rand($most)));
}

# ---- instants: whole microseconds of UTC, and two zones ----

sub instant
{
	my ($us) = @_;

	return 'null' if !defined $us;
	my $seconds = floor_divide($us, SECOND);
	my @t = gmtime($seconds);
	return sprintf("'%04d-%02d-%02d %02d:%02d:%02d.%06dZ'",
		$t[5] + 1900, $t[4] + 1, @t[3, 2, 1, 0], $us - $seconds * SECOND);
}

sub floor_divide
{
	my ($a, $b) = @_;
	my $q = $a / $b;

	return $q * $b > $a ? $q - 1 : $q;
}

# The last Sunday of a month, 01:00 UTC: there clocks in Europe change.
my %changes;

sub offset
{
	my ($zone, $us) = @_;

	return 0 if $zone eq 'UTC';
	my $year = (gmtime(floor_divide($us, SECOND)))[5];
	my $change = $changes{$year} //= [
		map {
			my $last = timegm(0, 0, 1, 31, $_, $year + 1900);
			($last - (gmtime($last))[6] * 86400) * SECOND
		} 2, 9 ];
	return $us >= $change->[0] && $us < $change->[1] ? 2 * HOUR : HOUR;
}

# From what the clock shows; what it never or twice shows is winter time.
sub from_local
{
	my ($zone, $local) = @_;

	return $local if $zone eq 'UTC';
	my $winter = $local - HOUR;
	my $summer = $local - 2 * HOUR;
	return offset($zone, $winter) == HOUR || offset($zone, $summer) == HOUR ? $winter : $summer;
}

my %days = (daily => 1, weekly => 7);
my %months = (monthly => 1, quarterly => 3, yearly => 12);

# anchor + n periods
sub boundary
{
	my ($g, $n) = @_;
	my $period = $g->{period};

	return $g->{anchor} + $n * HOUR if $period eq 'hourly';

	my $local = $g->{anchor} + offset($g->{zone}, $g->{anchor});
	if ($days{$period})
	{
		$local += $n * $days{$period} * DAY;
	}
	else
	{
		my $day = floor_divide($local, DAY);
		my $time = $local - $day * DAY;
		my (undef, undef, undef, $mday, $month, $year) = gmtime($day * 86400);
		my $total = ($year + 1900) * 12 + $month + $n * $months{$period};
		my ($y, $m) = ($total / 12, $total % 12);
		my $last = (31, 28 + ($y % 4 == 0 && ($y % 100 != 0 || $y % 400 == 0) ? 1 : 0),
			31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[$m];
		$local = timegm(0, 0, 0, min($mday, $last), $m, $y) * SECOND + $time;
	}
	return from_local($g->{zone}, $local);
}

# The last n whose boundary is not after an instant.
sub period_index
{
	my ($g, $at) = @_;
	my $length = $g->{period} eq 'hourly' ? HOUR
	  : $days{ $g->{period} } ? $days{ $g->{period} } * DAY
	  : $months{ $g->{period} } * 30 * DAY;
	my $n = floor_divide($at - $g->{anchor}, $length);

	# a guess is off by years at most; halve the distance, then walk
	for (1 .. 60)
	{
		my $distance = ($at - boundary($g, $n)) / $length;
		last if abs($distance) <= 2;
		$n += $distance;
	}
	$n++ while boundary($g, $n + 1) <= $at;
	$n-- while boundary($g, $n) > $at;
	return $n;
}

# ---- the model ----
#
# A customer: name, zone, inactive, clock, grants (by id), holds, keys.
# A grant: id, code, priority, unlimited, limit, overage, overage_limit, carry,
# rollover_max, from, until, period, anchor, zone, created; suspended, revoked;
# used, rollover, n (its period), last_reset, clock.
# A hold: id, code, lines of [grant's id, amount], expires, open.

sub held_at
{
	my ($c, $g, $at) = @_;
	my $held = 0;

	for my $hold (@{ $g->{holds} })
	{
		next if !$hold->{open} || (defined $hold->{expires} && $hold->{expires} <= $at);
		$held += $_->[1] for grep { $_->[0] eq $g->{id} } @{ $hold->{lines} };
	}
	return $held;
}

sub overage_of
{
	my ($g) = @_;

	return $g->{unlimited} ? 0 : max(0, $g->{used} - $g->{limit} - $g->{rollover});
}

sub reset_once
{
	my ($g, $held) = @_;

	if ($g->{unlimited})
	{
		$g->{used} = $g->{rollover} = 0;
		return;
	}
	my $left = min($g->{limit}, $g->{limit} + $g->{rollover} - $g->{used} - $held);
	my $used = $g->{carry} ? overage_of($g) : 0;
	$g->{rollover} = max(0, min($left, $g->{rollover_max} // 0));
	$g->{used} = $used;
}

# Let the resets of a grant come up to an instant, one after the other.  Only
# when one has changed nothing are those skipped that cannot either: until
# something lapses.
sub advance_grant
{
	my ($c, $g, $to) = @_;

	return if $to <= $g->{clock};
	$g->{clock} = $to;
	return if !$g->{period} || $g->{revoked};
	my $horizon = defined $g->{until} ? min($to, $g->{until} - 1) : $to;
	my $last = period_index($g, $horizon);
	return if $last <= $g->{n};

	for (my $n = $g->{n} + 1; $n <= $last;)
	{
		my $at = boundary($g, $n);
		my @before = ($g->{used}, $g->{rollover});

		reset_once($g, held_at($c, $g, $at));
		if ($before[0] != $g->{used} || $before[1] != $g->{rollover})
		{
			$n++;
			next;
		}
		my @lapses = grep { defined $_ && $_ > $at }
		  map { $_->{expires} } grep { $_->{open} } @{ $g->{holds} };
		last if !@lapses;
		my $lapse = min(@lapses);
		my $next = period_index($g, $lapse);
		$next++ if boundary($g, $next) < $lapse;
		$n = max($n + 1, $next);
	}
	$g->{n} = $last;
	$g->{last_reset} = boundary($g, $last);
}

sub advance
{
	my ($c, $to) = @_;

	return if $to <= $c->{clock};
	advance_grant($c, $_, $to) for values %{ $c->{grants} };
	for my $hold (@{ $c->{holds} })
	{
		$hold->{open} = 0 if $hold->{open} && defined $hold->{expires} && $hold->{expires} <= $to;
	}
	$c->{clock} = $to;
}

sub is_expired { return defined $_[0]{until} && $_[0]{until} <= $_[1]; }

sub state_of
{
	my ($g, $at) = @_;

	return 'revoked' if $g->{revoked};
	return 'expired' if is_expired($g, $at);
	return 'suspended' if $g->{suspended};
	return 'not_yet_valid' if defined $g->{from} && $g->{from} > $at;
	return 'ok';
}

sub status_of
{
	my ($g, $at) = @_;

	return 'revoked' if $g->{revoked};
	return 'expired' if is_expired($g, $at);
	return 'suspended' if $g->{suspended};
	return 'exhausted' if !$g->{unlimited} && $g->{used} >= $g->{limit} + $g->{rollover};
	return 'active';
}

sub next_reset
{
	my ($g, $at) = @_;

	return undef if !$g->{period} || $g->{revoked} || is_expired($g, $at);
	return boundary($g, $g->{n} + 1);
}

sub burn_order
{
	my ($at, @grants) = @_;
	my %perishes;

	for my $g (@grants)
	{
		my @ends = grep { defined } $g->{until}, next_reset($g, $at);
		$perishes{ $g->{id} } = @ends ? min(@ends) : NEVER;
	}
	return sort {
			 $a->{priority} <=> $b->{priority}
		  || $b->{unlimited} <=> $a->{unlimited}
		  || $perishes{ $a->{id} } <=> $perishes{ $b->{id} }
		  || $a->{created} <=> $b->{created}
		  || $a->{id} cmp $b->{id}
	} @grants;
}

sub grants_of
{
	my ($c, $code) = @_;

	return grep { $_->{code} eq $code } values %{ $c->{grants} };
}

sub live_of
{
	my ($c, $code) = @_;
	my $at = $c->{clock};

	return burn_order($at, grep { state_of($_, $at) eq 'ok' } grants_of($c, $code));
}

sub within_limit
{
	my ($c, $g, $taken) = @_;

	return max(0, $g->{limit} + $g->{rollover} - $g->{used} - held_at($c, $g, $c->{clock}) - $taken);
}

# What is left of live grants; null when one is unlimited, or there is none.
sub remaining
{
	my ($c, @live) = @_;

	return undef if !@live || grep { $_->{unlimited} } @live;
	return sum0(map { within_limit($c, $_, 0) } @live);
}

sub no_live_reason
{
	my ($c, $code) = @_;
	my %states = map { state_of($_, $c->{clock}) => 1 } grants_of($c, $code);

	for my $reason (qw(suspended not_yet_valid expired revoked))
	{
		return $reason if $states{$reason};
	}
	return 'no_entitlement';
}

# Spread an amount: a decision with "takes", [grant, amount] each.
sub decide
{
	my ($c, $code, $amount, $mode) = @_;

	return denied('customer_inactive') if $c->{inactive};
	my @live = live_of($c, $code);
	return denied(no_live_reason($c, $code)) if !@live;

	my $rest = $amount;
	my %taken;
	my $overage = 0;
	for my $g (@live)
	{
		my $part = $g->{unlimited} ? $rest : min($rest, within_limit($c, $g, 0));
		$taken{ $g->{id} } = $part;
		$rest -= $part;
	}
	for my $g (@live)
	{
		next if !$g->{overage} || $g->{unlimited};
		my $part = $rest;
		if (defined $g->{overage_limit})
		{
			my $beyond = max(0, $g->{used} + held_at($c, $g, $c->{clock}) + $taken{ $g->{id} }
				  - $g->{limit} - $g->{rollover});
			$part = min($rest, max(0, $g->{overage_limit} - $beyond));
		}
		$taken{ $g->{id} } += $part;
		$overage += $part;
		$rest -= $part;
	}
	if ($mode eq 'overflow' && $rest > 0)
	{
		$taken{ $live[-1]{id} } += $rest;
		$overage += $rest;
		$rest = 0;
	}
	my $reset_at;
	for my $at (grep { defined } map { next_reset($_, $c->{clock}) } @live)
	{
		$reset_at = $at if !defined $reset_at || $at < $reset_at;
	}
	if ($rest > 0 && !($mode eq 'cap' && $rest < $amount))
	{
		return { %{ denied('limit_exceeded') }, remaining => remaining($c, @live), reset_at => $reset_at };
	}
	my @takes = map { [ $_, $taken{ $_->{id} } ] } grep { $taken{ $_->{id} } > 0 } @live;
	return {
		allowed => 't', reason => 'ok', overage => $overage, consumed => $amount - $rest,
		entitlement => @takes ? $takes[0][0]{id} : undef,
		remaining => remaining($c, @live), reset_at => $reset_at, live => \@live, takes => \@takes };
}

sub denied
{
	my ($reason) = @_;

	return { allowed => 'f', reason => $reason, overage => 0, consumed => 0 };
}

# A keyed request takes effect once.
sub once
{
	my ($c, $op, $act) = @_;
	my $key = $op->{key};
	my $request = join ' ', map { $_ // '' } @$op{qw(kind code amount mode)};
	my $before = defined $key ? $c->{keys}{$key} : undef;

	if ($before)
	{
		return { error => 'SV004' } if $before->{request} ne $request;
		return { %{ $before->{answer} }, replayed => 't' };
	}
	my $answer = $act->();
	return $answer if $answer->{error};
	$answer->{replayed} = 'f';
	$c->{keys}{$key} = { request => $request, answer => {%$answer} }
	  if defined $key && $answer->{allowed} eq 't';
	return $answer;
}

sub model_consume
{
	my ($c, $op) = @_;

	return once($c, $op, sub {
		return model_refund($c, $op) if $op->{amount} < 0;
		my $answer = decide($c, @$op{qw(code amount mode)});
		if ($answer->{allowed} eq 't')
		{
			$_->[0]{used} += $_->[1] for @{ $answer->{takes} };
			$answer->{remaining} = remaining($c, @{ $answer->{live} });
		}
		return $answer;
	});
}

# Overage first, then against the burn order; live grants before others.
sub model_refund
{
	my ($c, $op) = @_;
	my $rest = -$op->{amount};
	my @live = live_of($c, $op->{code});
	my @others = burn_order($c->{clock},
		grep { state_of($_, $c->{clock}) ne 'ok' } grants_of($c, $op->{code}));
	my @order = (reverse(@live), reverse(@others));

	return { error => 'SV013' }
	  if $op->{mode} ne 'cap' && $rest > sum0(map { $_->{used} } @order);
	return denied('no_entitlement') if !@order;
	for my $pass (qw(overage used))
	{
		for my $g (@order)
		{
			my $part = min($rest, $pass eq 'overage' ? overage_of($g) : $g->{used});
			$g->{used} -= $part;
			$rest -= $part;
		}
	}
	return {
		allowed => 't', reason => 'ok', consumed => $op->{amount} + $rest,
		remaining => remaining($c, @live) };
}

sub model_hold
{
	my ($c, $op) = @_;

	return once($c, $op, sub {
		my $answer = decide($c, @$op{qw(code amount mode)});
		if ($answer->{allowed} eq 't')
		{
			my $hold = {
				number => $op->{number}, code => $op->{code}, open => 1,
				expires => defined $op->{ttl} ? $c->{clock} + $op->{ttl} * SECOND : undef,
				lines => [ map { [ $_->[0]{id}, $_->[1] ] } @{ $answer->{takes} } ] };

			push @{ $c->{holds} }, $hold;
			push @{ $_->[0]{holds} }, $hold for @{ $answer->{takes} };
			$answer->{remaining} = remaining($c, @{ $answer->{live} });
			$answer->{expires} = $hold->{expires};
			$answer->{hold} = $hold;
		}
		return $answer;
	});
}

sub model_settle
{
	my ($c, $op) = @_;
	my ($hold) = grep { $_->{number} == $op->{number} } @{ $c->{holds} };

	return { error => 'SV017' } if !$hold->{open};
	my $held = sum0(map { $_->[1] } @{ $hold->{lines} });
	my $beyond = max(0, $op->{amount} - $held);
	my $rest = min($op->{amount}, $held);
	my %used = map { $_->[0] => $c->{grants}{ $_->[0] }{used} } @{ $hold->{lines} };

	$hold->{open} = 0;
	for my $line (@{ $hold->{lines} })
	{
		my $part = min($rest, $line->[1]);
		$c->{grants}{ $line->[0] }{used} += $part;
		$rest -= $part;
	}
	my $more = { consumed => 0 };
	if ($beyond > 0)
	{
		$more = decide($c, $hold->{code}, $beyond, $op->{mode});
		if ($more->{allowed} eq 'f' && $op->{mode} ne 'cap')
		{
			$hold->{open} = 1;
			$c->{grants}{$_}{used} = $used{$_} for keys %used;
			return {
				allowed => 'f', reason => $more->{reason}, consumed => 0,
				remaining => remaining($c, live_of($c, $hold->{code})), replayed => 'f' };
		}
		$_->[0]{used} += $_->[1] for @{ $more->{takes} // [] };
	}
	return {
		allowed => 't', reason => 'ok', replayed => 'f',
		consumed => min($op->{amount}, $held) + $more->{consumed},
		remaining => remaining($c, live_of($c, $hold->{code})) };
}

sub model_several
{
	my ($c, $op) = @_;

	return once($c, { %$op, code => join(' ', map { "$_=$op->{amounts}{$_}" } sort keys %{ $op->{amounts} }) }, sub {
		my %part;

		for my $code (sort keys %{ $op->{amounts} })
		{
			$part{$code} = decide($c, $code, $op->{amounts}{$code}, 'reject');
			return { allowed => 'f', reason => $part{$code}{reason}, code => $code }
			  if $part{$code}{allowed} eq 'f';
		}
		my %answer = (allowed => 't', reason => 'ok', code => undef);
		for my $code (sort keys %part)
		{
			$_->[0]{used} += $_->[1] for @{ $part{$code}{takes} };
			$answer{"consumed $code"} = $part{$code}{consumed};
			$answer{"overage $code"} = $part{$code}{overage};
			$answer{"remaining $code"} = remaining($c, @{ $part{$code}{live} });
		}
		return \%answer;
	});
}

sub model_grant
{
	my ($c, $op) = @_;
	my $now = $op->{now};
	my $g = { %{ $op->{grant} }, created => $now, clock => $now, zone => $c->{zone}, holds => [],
		used => 0, rollover => 0, last_reset => undef, reset_by_hand => -1, suspended => 0, revoked => 0 };

	if ($g->{period})
	{
		$g->{anchor} //= $g->{from} // $now;
		# periods count from where validity begins
		$g->{n} = period_index($g, $g->{from} // $now);
		$g->{clock} = min($now, $g->{from} // $now);
	}
	$c->{grants}{ $g->{id} } = $g;
	advance_grant($c, $g, $c->{clock});
}

# By hand: the next reset by itself comes when it would have, or a period from now.
sub model_reset
{
	my ($c, $op) = @_;
	my $g = $c->{grants}{ $op->{id} };

	reset_once($g, held_at($c, $g, $c->{clock}));
	$g->{last_reset} = $g->{reset_by_hand} = $c->{clock};
	if ($op->{move_anchor} && $g->{period})
	{
		$g->{anchor} = $c->{clock};
		$g->{n} = period_index($g, max($c->{clock}, $g->{from} // $c->{clock}));
	}
}

# The balance of a code at an instant that has not come yet.
sub model_balance
{
	my ($c, $code, $at) = @_;
	my @grants = map { my %copy = %$_; \%copy } grants_of($c, $code);

	advance_grant($c, $_, $at) for @grants;
	@grants = grep { !$_->{revoked} && !is_expired($_, $at) && !(defined $_->{from} && $_->{from} > $at) } @grants;
	my $unlimited = grep { $_->{unlimited} } @grants;
	my %b = (unlimited => $unlimited ? 't' : 'f');
	$b{rollover} = sum0(map { $_->{rollover} } @grants);
	$b{used} = sum0(map { $_->{used} } @grants);
	$b{held} = sum0(map { held_at($c, $_, $at) } @grants);
	$b{overage} = sum0(map { overage_of($_) } @grants);
	$b{limit} = $unlimited || !@grants ? undef : sum0(map { $_->{limit} } @grants);
	$b{remaining} = $unlimited || !@grants ? undef : sum0(
		map { max(0, $_->{limit} + $_->{rollover} - $_->{used} - held_at($c, $_, $at)) } @grants);
	return \%b;
}

# ---- from a request to SQL, and to the answer's columns ----

my @answer = qw(allowed reason remaining overage reset_at entitlement consumed replayed);
my %is_amount = map { $_ => 1 } qw(remaining overage consumed used rollover held limit);

sub text { return defined $_[0] ? "'" . ($_[0] =~ s/'/''/gr) . "'" : 'null'; }

my $columns = 'x.allowed, x.reason, x.remaining, x.overage, us(x.reset_at), x.entitlement_id, x.consumed, x.replayed';
my %sql = (
	check => sub {
		my ($c, $op, $at) = @_;
		return ([ @answer[ 0 .. 5 ] ],
			'SELECT us(now()), ' . join(', ', (split /, /, $columns)[ 0 .. 5 ])
			  . " FROM svc_check_entitlement('$c->{name}', '$op->{code}', "
			  . decimal($op->{amount}) . ", $at) x;");
	},
	consume => sub {
		my ($c, $op, $at) = @_;
		return (\@answer,
			"SELECT us(now()), $columns FROM svc_consume_entitlement('$c->{name}', '$op->{code}', "
			  . decimal($op->{amount}) . ', ' . text($op->{key}) . ", '$op->{mode}', $at) x;");
	},
	hold => sub {
		my ($c, $op, $at) = @_;
		my $ttl = defined $op->{ttl} ? "'$op->{ttl} seconds'" : 'null';
		return ([ @answer, 'expires', 'hold_id' ],
			"SELECT us(now()), " . ($columns =~ s/x\.consumed/x.held/r)
			  . ", us(x.expires_at), x.hold_id FROM svc_hold_entitlement('$c->{name}', '$op->{code}', "
			  . decimal($op->{amount}) . ", $ttl, " . text($op->{key}) . ", '$op->{mode}', $at) x;");
	},
	settle => sub {
		my ($c, $op, $at) = @_;
		return (\@answer,
			"SELECT us(now()), $columns FROM svc_settle_hold('$c->{name}', '$c->{hold_ids}{$op->{number}}', "
			  . decimal($op->{amount}) . ", mode => '$op->{mode}', at => $at) x;");
	},
	release => sub {
		my ($c, $op, $at) = @_;
		return (\@answer,
			"SELECT us(now()), $columns FROM svc_release_hold('$c->{name}', '$c->{hold_ids}{$op->{number}}', at => $at) x;");
	},
	several => sub {
		my ($c, $op, $at) = @_;
		my @codes = sort keys %{ $op->{amounts} };
		my $amounts = join(', ', map { "\"$_\": " . decimal($op->{amounts}{$_}) } @codes);
		return ([ qw(allowed reason code replayed), map { ("consumed $_", "overage $_", "remaining $_") } @codes ],
			'SELECT us(now()), x.allowed, x.reason, x.code, x.replayed, '
			  . join(', ', map { "x.consumed->>'$_', x.overage->>'$_', x.remaining->>'$_'" } @codes)
			  . " FROM svc_consume_entitlements('$c->{name}', '{$amounts}', " . text($op->{key}) . ", $at) x;");
	},
	grant => sub {
		my ($c, $op) = @_;
		my $g = $op->{grant};
		return ([],
			"SELECT us(now()), svc_grant_entitlement('$c->{name}', '$g->{code}', "
			  . ($g->{unlimited} ? 'unlimited => true' : decimal($g->{limit}))
			  . ", id => '$g->{id}', priority => $g->{priority}, valid_from => @{[instant($g->{from})]}"
			  . ", valid_until => @{[instant($g->{until})]}, reset_period => " . text($g->{period})
			  . ", reset_anchor => @{[instant($g->{anchor})]}, rollover_max => @{[decimal($g->{rollover_max})]}"
			  . ", overage => '" . ($g->{overage} ? 'allow' : 'deny') . "', overage_limit => "
			  . decimal($g->{overage_limit}) . ', carry_overage => ' . ($g->{carry} ? 'true' : 'false') . ');');
	},
	update => sub {
		my ($c, $op) = @_;
		return ([], "SELECT us(now()), svc_update_entitlement('$c->{name}', '$op->{id}', '$op->{json}');");
	},
	reset => sub {
		my ($c, $op) = @_;
		return ([], "SELECT us(now()), svc_reset_entitlement('$c->{name}', '$op->{id}', "
			  . ($op->{move_anchor} ? 'true' : 'false') . ');');
	},
	(map {
		my $action = $_;
		($action => sub {
			my ($c, $op) = @_;
			return ([], "SELECT us(now()), svc_${action}_entitlement('$c->{name}', '$op->{id}');");
		})
	} qw(suspend resume revoke)),
	gate => sub {
		my ($c, $op) = @_;
		return ([], "SELECT us(now()), svc_" . ($op->{close} ? 'suspend' : 'reactivate') . "_customer('$c->{name}');");
	},
);

my %model = (
	check => sub { my ($c, $op) = @_; return decide($c, @$op{qw(code amount)}, 'reject'); },
	consume => \&model_consume,
	hold => \&model_hold,
	settle => \&model_settle,
	release => sub { my ($c, $op) = @_; return model_settle($c, { %$op, amount => 0, mode => 'reject' }); },
	several => \&model_several,
	grant => sub { model_grant(@_); return {}; },
	reset => sub { model_reset(@_); return {}; },
	suspend => sub { $_[0]{grants}{ $_[1]{id} }{suspended} = 1; return {}; },
	resume => sub { $_[0]{grants}{ $_[1]{id} }{suspended} = 0; return {}; },
	revoke => sub { $_[0]{grants}{ $_[1]{id} }{revoked} = 1; return {}; },
	gate => sub { $_[0]{inactive} = $_[1]{close}; return {}; },
	update => sub {
		my ($c, $op) = @_;
		my $g = $c->{grants}{ $op->{id} };
		$g->{$_} = $op->{set}{$_} for keys %{ $op->{set} };
		return {};
	},
);

my $steps = 0;
my $balances = 0;
my $compared = 0;
my %seen;

# Do one step to a customer: ask the engine, ask the model, compare.
sub do_step
{
	my ($c, $op) = @_;
	my $at = $c->{later} ? instant($c->{clock}) : 'null';
	my ($names, $sql) = $sql{ $op->{kind} }->($c, $op, $at);
	my ($rows, $error) = query($c->{session}, $sql);

	$steps++;
	push @{ $c->{log} }, $sql;
	my $now = $rows ? $rows->[0][0] : undef;
	advance($c, $now) if !$c->{later} && defined $now;
	my $expected = $model{ $op->{kind} }->($c, { %$op, now => $now });
	$seen{ join ' ', $op->{kind}, $expected->{error} // $expected->{reason} // 'done',
		($expected->{replayed} // '') eq 't' ? 'replayed' : () }++;

	if (defined $error || $expected->{error})
	{
		complain($c, 'error', $error, $expected->{error})
		  if ($error // '') ne ($expected->{error} // '');
		return;
	}
	my @row = @{ $rows->[0] };
	shift @row;
	for my $name (@$names)
	{
		my $got = shift @row;

		if ($name eq 'hold_id')
		{
			# a replay tells the first one's
			$c->{hold_ids}{ $op->{number} } = $got if defined $got && $expected->{replayed} eq 'f';
			next;
		}
		next if !exists $expected->{$name};
		$got = thousandths($got) if $is_amount{ (split / /, $name)[0] };
		$compared++;
		complain($c, $name, $got, $expected->{$name})
		  if ($got // 'null') ne ($expected->{$name} // 'null');
	}
}

# The first difference of a customer says it all; what follows, follows.
sub complain
{
	my ($c, $what, $got, $expected) = @_;

	return if $c->{broken};
	$c->{broken} = 1;
	my $log = $c->{log};
	fail("$c->{name}, $c->{database}: $what");
	diag("customer $c->{name}, database $c->{database}, clock " . instant($c->{clock})
		  . "\n     $what: engine " . ($got // 'null') . ', model ' . ($expected // 'null')
		  . "\n" . join("\n", @{$log}[ max(0, @$log - 12) .. $#$log ]));
	for my $g (burn_order($c->{clock}, values %{ $c->{grants} }))
	{
		next if $what =~ /^row (\S+):/ ? $g->{id} ne $1 : $log->[-1] =~ /'(c\d)'/ && $g->{code} ne $1;
		diag(join ' ', map { "$_=" . (ref $g->{$_} ? scalar @{ $g->{$_} } : $g->{$_} // 'null') } sort keys %$g);
	}
}

# A grant of nothing, of which nothing was used, is exhausted by the rule, and
# active as it is granted: neither is taken for wrong, nor is that it may hang on
# when somebody looked.
sub is_of_nothing
{
	my ($g) = @_;

	return !$g->{unlimited} && $g->{used} == 0 && $g->{limit} + $g->{rollover} == 0;
}

# Write down what time has done, and compare all rows.
sub compare_rows
{
	my ($c) = @_;
	my $at = $c->{later} ? instant($c->{clock}) : 'null';

	push @{ $c->{log} }, "SELECT * FROM svc_run_due($at);";
	my ($rows, $error) = query($c->{session}, qq{
		BEGIN;
		SELECT us(now()) FROM svc_run_due($at) LIMIT 1;
		SELECT id, status, used_amount, rollover_amount, held_amount, us(last_reset_at), us(reset_at)
		FROM svc_entitlement WHERE customer_id = '$c->{name}' ORDER BY id;
		COMMIT;} =~ s/\n\t*/ /gr);
	if ($error)
	{
		complain($c, 'svc_run_due', $error, undef);
		return;
	}
	my $now = shift(@$rows)->[0];
	advance($c, $now) if !$c->{later};
	for my $row (@$rows)
	{
		my $g = $c->{grants}{ $row->[0] };
		my %expected = (
			status => status_of($g, $c->{clock}), used => $g->{used}, rollover => $g->{rollover},
			held => held_at($c, $g, $c->{clock}), last_reset_at => $g->{last_reset},
			reset_at => next_reset($g, $c->{clock}));
		$expected{status} = $row->[1] if is_of_nothing($g) && $expected{status} eq 'exhausted' && $row->[1] eq 'active';
		my @names = qw(status used rollover held last_reset_at reset_at);

		for my $i (0 .. $#names)
		{
			my $got = $row->[ $i + 1 ];
			$got = thousandths($got) if $is_amount{ $names[$i] };
			$compared++;
			complain($c, "row $g->{id}: $names[$i]", $got, $expected{ $names[$i] })
			  if ($got // 'null') ne ($expected{ $names[$i] } // 'null');
		}
	}
	complain($c, 'grants', scalar(@$rows), scalar(keys %{ $c->{grants} }))
	  if @$rows != keys %{ $c->{grants} };
}

# Compare a balance with what the model knew.
sub compare_balance
{
	my ($c, $code, $at, $expected) = @_;
	my $sql = 'SELECT unlimited, limit_amount, rollover_amount, used_amount, held_amount, remaining_amount, overage'
	  . " FROM svc_balance_at('$c->{name}', '$code', @{[instant($at)]});";
	my ($rows, $error) = query($c->{session}, $sql);

	push @{ $c->{log} }, $sql;
	$balances++;
	if ($error)
	{
		complain($c, 'svc_balance_at', $error, undef);
		return;
	}
	my @row = @{ $rows->[0] };
	my @figures = ($row[0], map { thousandths($_) } @row[ 1 .. $#row ]);
	for my $name (qw(unlimited limit rollover used held remaining overage))
	{
		my $got = shift @row;
		$got = thousandths($got) if $is_amount{$name};
		$compared++;
		complain($c, "balance of $code at " . instant($at) . ": $name", $got, $expected->{$name})
		  if ($got // 'null') ne ($expected->{$name} // 'null');
	}
	return join('|', map { $_ // 'null' } @figures);
}

# ---- what to do next ----

sub one_of { return $_[ int(rand(@_)) ]; }

sub chance { no integer; return rand() < $_[0]; }

# From minutes to years, each magnitude as likely.
sub random_span
{
	no integer;
	my ($least, $most) = @_;    # seconds

	return int(exp(log($least) + rand() * (log($most) - log($least)))) * SECOND
	  + (rand() < 0.3 ? int(rand(SECOND)) : 0);
}

my $year = 366 * 86400;
my $grants_made = 0;

# An anchor on one of the days that not every month has, at an hour that not
# every day has.
sub random_anchor
{
	my ($c) = @_;
	my $kind = int(rand(10));

	return undef if $kind == 0;
	my (undef, undef, undef, undef, undef, $this_year) = gmtime($c->{start} / SECOND);
	# January, March, May, October, November with its 30 days, February, the
	# days on which clocks change
	my ($month, $day) = @{ one_of([ 0, 31 ], [ 2, 31 ], [ 4, 31 ], [ 9, 31 ], [ 10, 30 ], [ 1, 28 ], [ 9, 25 ],
		[ 2, 29 ], [ 7, 31 ]) };
	$day = min($day, one_of(28 .. 31, 15)) if $day > 28;
	return timegm(one_of(0, 0, 59), one_of(0, 30), one_of(0, 1, 2, 12, 22, 23), $day, $month,
		$this_year + 1900 + one_of(-2, -1, 0, 0, 1)) * SECOND;
}

sub random_grant
{
	my ($c) = @_;
	my $clock = $c->{clock};
	my $id = sprintf('g%03d', ++$grants_made % 997);
	my $unlimited = chance(0.04) ? 1 : 0;
	my $overage = chance(0.35) ? 1 : 0;
	my $from = chance(0.75) ? undef : $clock + one_of(-1, 1) * random_span(60, 2 * $year);
	my $g = {
		id => "$id-$grants_made", code => one_of(CODES), priority => one_of(10, 100, 100, 100, 200),
		unlimited => $unlimited, from => $from,
		until => chance(0.6) ? undef : max($clock, $from // 0) + random_span(60, 8 * $year),
		period => chance(0.15) ? undef : one_of(qw(hourly daily weekly monthly monthly quarterly yearly)),
		anchor => undef, limit => undef, rollover_max => undef, overage => 0, overage_limit => undef, carry => 0 };

	$g->{anchor} = random_anchor($c) if $g->{period};
	# (a twin's must not be now(), which is not the same in two databases)
	$g->{anchor} //= $from // $c->{start} if $g->{period} && $c->{twin};
	if (!$unlimited)
	{
		$g->{limit} = chance(0.05) ? 0 : random_amount(one_of(3, 20, 100));
		$g->{rollover_max} = one_of(undef, 0, random_amount(10), random_amount(300)) if $g->{period};
		$g->{overage} = $overage;
		$g->{overage_limit} = one_of(undef, 0, random_amount(30), random_amount(30)) if $overage;
		$g->{carry} = chance(0.5) ? 1 : 0 if $g->{period};
	}
	return { kind => 'grant', grant => $g };
}

sub random_update
{
	my ($c, $g) = @_;
	my $what = $g->{unlimited} ? 'priority' : one_of(qw(limit limit limit limit priority overage rollover carry));

	if ($what eq 'limit')
	{
		my $limit = chance(0.1) ? 0
		  : chance(0.2) ? $g->{used} : random_amount(one_of(3, 20, 100));
		return { json => "{\"limit_amount\": @{[decimal($limit)]}}", set => { limit => $limit } };
	}
	if ($what eq 'priority')
	{
		my $priority = one_of(10, 50, 100, 200);
		return { json => "{\"priority\": $priority}", set => { priority => $priority } };
	}
	if ($what eq 'overage')
	{
		my $limit = one_of(undef, random_amount(30));
		return { json => "{\"overage\": \"allow\", \"overage_limit\": @{[decimal($limit)]}}",
			set => { overage => 1, overage_limit => $limit } };
	}
	if ($what eq 'rollover')
	{
		my $most = one_of(undef, random_amount(50));
		return { json => "{\"rollover_max\": @{[decimal($most)]}}", set => { rollover_max => $most } };
	}
	return { json => '{"carry_overage": ' . ($g->{carry} ? 'false' : 'true') . '}',
		set => { carry => $g->{carry} ? 0 : 1 } };
}

# The next request, for a customer as the model has it.
sub random_step
{
	my ($c) = @_;
	my $code = one_of(CODES);
	my $key = chance(0.25) ? 'k' . ++$c->{key_count} : undef;
	my @open = grep { $_->{open} } @{ $c->{holds} };
	my @usable = grep { !$_->{revoked} && !is_expired($_, $c->{clock}) } values %{ $c->{grants} };
	my $by_hand = !$c->{later} || !$c->{twin};
	my $dice = int(rand(1000));

	@usable = sort { $a->{id} cmp $b->{id} } @usable;
	return random_grant($c) if !@usable || (@usable < 14 && $dice % 7 == 0) || $dice >= 990;

	# what was asked before, once more
	if ($dice < 50 && @{ $c->{keyed} })
	{
		my $op = { %{ one_of(@{ $c->{keyed} }) } };
		$op->{amount} += 1 if $op->{kind} ne 'several' && chance(0.2);
		return $op;
	}
	my $op;
	if ($dice < 430)
	{
		$op = { kind => 'consume', code => $code, key => $key, amount => random_amount(one_of(2, 10, 30, 200)),
			mode => one_of(qw(reject reject reject cap overflow)) };
	}
	elsif ($dice < 520)
	{
		my $mode = one_of(qw(reject reject cap overflow));
		$op = { kind => 'consume', code => $code, key => $mode eq 'cap' ? undef : $key,
			amount => -random_amount(one_of(1, 5, 20, 100)), mode => $mode };
	}
	elsif ($dice < 610)
	{
		$op = { kind => 'hold', code => $code, key => $key, amount => random_amount(one_of(2, 10, 30)),
			mode => one_of(qw(reject reject cap)), number => ++$c->{hold_count},
			ttl => chance(0.15) ? undef : random_span(30, $year / 2) / SECOND };
	}
	elsif ($dice < 690 && @{ $c->{holds} })
	{
		my $hold = @open && chance(0.9) ? one_of(@open) : one_of(@{ $c->{holds} });
		my $held = sum0(map { $_->[1] } @{ $hold->{lines} });
		return { kind => 'release', number => $hold->{number} } if chance(0.25);
		return { kind => 'settle', number => $hold->{number}, mode => one_of(qw(reject reject cap overflow)),
			amount => one_of(0, $held, int(rand($held)), $held + random_amount(3), $held + random_amount(40)) };
	}
	elsif ($dice < 750)
	{
		my @codes = (shuffle(CODES))[ 0 .. int(rand(3)) ];
		$op = { kind => 'several', key => $key, amounts => { map { $_ => random_amount(one_of(2, 10)) } @codes } };
	}
	elsif ($dice < 830)
	{
		return { kind => 'check', code => $code, amount => random_amount(one_of(2, 10, 50)) };
	}
	elsif ($dice < 870)
	{
		my $g = one_of(@usable);
		return { kind => $g->{suspended} ? 'resume' : chance(0.5) ? 'suspend' : 'resume', id => $g->{id} };
	}
	elsif ($dice < 890)
	{
		return { kind => 'gate', close => 0 } if $c->{inactive};
		return { kind => 'gate', close => chance(0.5) ? 1 : 0 } if $dice < 880;
		return { kind => 'check', code => $code, amount => 1 };
	}
	elsif ($dice < 930 && $by_hand)
	{
		my $g = one_of(@usable);
		return { kind => 'update', id => $g->{id}, %{ random_update($c, $g) } };
	}
	elsif ($dice < 950 && !$c->{later})
	{
		my $g = one_of(@usable);
		# the two of a twin have each their own now(), which must not matter
		return { kind => 'reset', id => $g->{id}, move_anchor => !$c->{twin} && chance(0.4) ? 1 : 0 };
	}
	elsif ($dice < 960 && $by_hand)
	{
		return { kind => 'revoke', id => one_of(@usable)->{id} };
	}
	else
	{
		return { kind => 'check', code => $code, amount => random_amount(5) };
	}
	push @{ $c->{keyed} }, $op if defined $op->{key};
	return $op;
}

sub new_customer
{
	my ($database, $name, $zone, $twin) = @_;
	my ($rows, $error) = query($session{$database},
		"SELECT us(now()), svc_create_customer('{\"id\": \"$name\", \"name\": \"Ada\", \"status\": \"active\","
		  . " \"timezone\": \"$zone\"}');");

	die "cannot create a customer: $error" if $error;
	return {
		session => $session{$database}, database => $database, name => $name, zone => $zone, twin => $twin,
		start => $rows->[0][0], clock => $rows->[0][0], later => 0, inactive => 0, broken => 0,
		grants => {}, holds => [], hold_ids => {}, keys => {}, keyed => [], log => [], past => [],
		key_count => 0, hold_count => 0 };
}

# What the models know of an instant before the clock moves past it.
sub remember
{
	my ($to, @both) = @_;
	my $clock = $both[0]{clock};
	my $at = chance(0.3) ? $clock : $clock + int(rand($to - $clock));
	my $code = one_of(CODES);

	push @{ $_->{past} }, [ $code, $at, model_balance($_, $code, $at) ] for @both;
}

# What acts at now() changes what lies behind the clock.
sub forget
{
	my ($c, $op) = @_;
	my $code = $op->{kind} eq 'grant' ? $op->{grant}{code}
	  : $op->{kind} =~ /^(update|revoke)$/ ? $c->{grants}{ $op->{id} }{code} : return;

	@{ $c->{past} } = grep { $_->[0] ne $code } @{ $c->{past} };
}

# One customer, or the two of a twin in step: the first is looked at.
sub run_customer
{
	my ($name, $zone, $twin) = @_;
	my @both = map { new_customer($_, $name, $zone, $twin) } $twin ? qw(looked alone) : 'looked';
	my $c = $both[0];

	for my $n (1 .. STEPS_NOW)
	{
		my $op = random_step($c);

		do_step($_, $op) for $op->{kind} eq 'check' ? $c : @both;
		compare_rows($c) if $n % 25 == 0;
		last if grep { $_->{broken} } @both;
	}
	if ($c->{inactive})
	{
		do_step($_, { kind => 'gate', close => 0 }) for @both;
	}

	# from now on the clock is ours; ten minutes on, so that it stays ahead of now()
	my $to = $c->{clock} + 600 * SECOND;
	for my $n (1 .. STEPS_LATER)
	{
		last if grep { $_->{broken} } @both;
		if ($n == 1 || chance(0.22))
		{
			if ($n > 1)
			{
				$to = next_instant($c);
				remember($to, @both) for 1, 2;
			}
			for (@both)
			{
				$_->{later} = 1;
				advance($_, $to);
			}
			compare_rows($c);
			do_step($c, { kind => 'check', code => $_, amount => random_amount(5) }) for CODES;
			compare_balance($c, $_, $to, model_balance($c, $_, $to)) for one_of(CODES);
		}
		my $op = random_step($c);
		if ($op->{kind} =~ /^(update|revoke)$/)
		{
			# it acts at now(): what time has done since is to be written first
			compare_rows($c);
		}
		forget($_, $op) for @both;
		do_step($_, $op) for $op->{kind} eq 'check' ? $c : @both;
	}

	# the twin that was left alone: now somebody looks
	for my $replica (@both)
	{
		compare_balance($replica, @$_) for @{ $replica->{past} };
		compare_rows($replica);
		compare_balance($replica, @$_) for @{ $replica->{past} };
		ok(!$replica->{broken},
			"$name in $zone, $replica->{database}: answers, rows and past balances are the model's");
	}
	compare_twins(@both) if $twin;
}

# Mostly a span of any magnitude; sometimes a boundary or the end of something,
# or the microsecond before it.
sub next_instant
{
	my ($c) = @_;
	my @ends = grep { defined $_ && $_ > $c->{clock} + 1 }
	  (map { $_->{until}, $_->{from}, next_reset($_, $c->{clock}) } values %{ $c->{grants} }),
	  (map { $_->{expires} } grep { $_->{open} } @{ $c->{holds} });

	@ends = sort { $a <=> $b } @ends;
	return one_of(@ends) - one_of(0, 0, 1) if @ends && chance(0.4);
	return $c->{clock} + random_span(60, 3 * $year);
}

# Directly, without the model: what was looked at is what was left alone.
sub compare_twins
{
	my ($one, $other) = @_;
	my $rows_of = sub {
		my ($c) = @_;
		my ($rows) = query($c->{session}, qq{
			SELECT id, status, trim_scale(used_amount), trim_scale(rollover_amount), trim_scale(held_amount),
			       trim_scale(remaining_amount), trim_scale(usage_percent), us(reset_at), us(last_reset_at)
			FROM svc_entitlement WHERE customer_id = '$c->{name}' ORDER BY id;} =~ s/\n\s*/ /gr);
		for my $row (@$rows)
		{
			my $g = $c->{grants}{ $row->[0] };

			# each database had its own now()
			$row->[-1] = 'by hand' if ($row->[-1] // 0) == $g->{reset_by_hand};
			$row->[1] = 'of nothing' if is_of_nothing($g) && $row->[1] =~ /^(active|exhausted)$/;
		}
		return join("\n", map { join('|', map { $_ // 'null' } @$_) } @$rows);
	};

	is($rows_of->($other), $rows_of->($one), "$one->{name}: rows do not depend on when somebody looked");
	my @balances = map {
		my $c = $_;
		join("\n", map { compare_balance($c, @$_) // 'error' } @{ $c->{past} })
	} ($one, $other);
	is($balances[1], $balances[0], "$one->{name}: past balances do not depend on when somebody looked");
	cmp_ok(scalar(@{ $one->{past} }), '>', 20, "$one->{name}: and there are some");
}

# ---- the model's clocks are the server's ----

{
	my ($rows) = query($session{looked}, q{
		SELECT us(l AT TIME ZONE 'UTC'), us(l AT TIME ZONE 'Europe/Berlin')
		FROM generate_series(timestamp '2020-01-01 00:30', '2120-01-01', '1 hour') l
		WHERE extract(month FROM l) IN (3, 10) AND extract(day FROM l) > 24 AND extract(hour FROM l) < 5
		   OR extract(day FROM l) = 1 AND extract(hour FROM l) = 12;} =~ s/\n\s*/ /gr);
	my @wrong = grep { from_local('Europe/Berlin', $_->[0]) != $_->[1] } @$rows;

	cmp_ok(scalar(@$rows), '>', 5000, 'the server has told what clocks in Europe/Berlin show');
	is(scalar(@wrong), 0, 'and the model says the same');
}

# ---- go ----

my $number = 0;
for (1 .. 2)
{
	run_customer('single' . ++$number, $_, 0) for 'UTC', 'Europe/Berlin';
}
for (1 .. 2)
{
	run_customer('twin' . ++$number, $_, 1) for 'UTC', 'Europe/Berlin';
}
# what chance has kept from these
for (1 .. 8)
{
	last if !grep { !$seen{$_} } EVERYTHING;
	run_customer('more' . ++$number, 'UTC', 0);
}

for my $database (sort keys %session)
{
	my ($rows) = query($session{$database}, 'SELECT * FROM svc_verify();');
	is(scalar(@$rows), 0, "$database: svc_verify() has nothing to say")
	  or diag(join("\n", map { join('|', map { $_ // 'null' } @$_) } @$rows));
	($rows) = query($session{$database}, q{
		SELECT e.customer_id, e.id
		FROM svc_entitlement e LEFT JOIN svc_entitlement_ledger l
			ON l.customer_id = e.customer_id AND l.entitlement_id = e.id
		GROUP BY e.customer_id, e.id
		HAVING e.used_amount <> coalesce(sum(l.amount), 0) OR e.held_amount <> coalesce(sum(l.held), 0)
			OR e.ledger_seq <> count(l.seq) OR e.ledger_seq <> coalesce(max(l.seq), 0)
			OR min(l.seq) <> 1;} =~ s/\n\s*/ /gr);
	is(scalar(@$rows), 0, "$database: each grant's ledger is numbered without holes and sums up");
}
cmp_ok($steps, '>=', 10_000, "$steps steps and $balances past balances, $compared figures compared");
ok($seen{$_}, "met: $_") for EVERYTHING;
note "$_: $seen{$_}" for sort keys %seen;

print { $_->{to} } "\\q\n" for values %session;
close $_->{to} for values %session;
waitpid $_->{pid}, 0 for values %session;
$node->stop;
diag "SVC_TEST_SEED=$seed" unless Test::More->builder->is_passing;
done_testing();
