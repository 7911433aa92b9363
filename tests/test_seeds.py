"""Addressed randomness."""

from terraloom.seeds import derive_seed, generator_at


def test_a_seed_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert derive_seed(0) == 3456079177858693020
    assert derive_seed(7, "sample", 17) == 5546755877801815292


def test_seeds_are_63_bits_wide() -> None:
    seeds = [derive_seed(0, i) for i in range(2000)]
    assert len(set(seeds)) == 2000
    assert min(seeds) >= 0
    assert 2**62 < max(seeds) < 2**63


def test_every_part_of_an_address_matters() -> None:
    found = {
        derive_seed(1, "a", "b"),
        derive_seed(2, "a", "b"),
        derive_seed(1, "b", "a"),
        derive_seed(1, "ab"),
        derive_seed(1, "a", "b", 0),
        derive_seed(1, 1),
        derive_seed(1, "1"),
        derive_seed(11),
    }
    assert len(found) == 8


def test_a_stream_does_not_depend_on_what_was_drawn_before() -> None:
    first = generator_at(3, "noise", 5).random(4).tolist()
    generator_at(3, "noise", 4).random(1000)
    assert generator_at(3, "noise", 5).random(4).tolist() == first
    assert generator_at(3, "noise", 6).random(4).tolist() != first
