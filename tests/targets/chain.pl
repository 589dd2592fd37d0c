# Spends its time in main -> outer -> (the interpreter's own code) -> middle -> inner, until it is killed.
# It says "ready" after the first round, by which time the interpreter has started.
use strict;
use warnings;

sub inner {
    my ($turns) = @_;
    my $total = 0;
    for (my $i = 0; $i < $turns; $i++) { $total += $i * $i; }
    return $total;
}

sub middle {
    my ($turns) = @_;
    return inner($turns) + 1;
}

sub outer {
    my @sorted = sort { middle($a) <=> middle($b) } (50_000, 40_000);
    return \@sorted;
}

sub main {
    outer();
    $| = 1;
    print "ready\n";
    outer() while 1;
}

main();
