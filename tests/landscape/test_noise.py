import numpy as np

from terraloom.landscape.noise import (
    direction,
    grid_noise,
    hash_pair,
    key_for,
    point_noise,
    smoothstep,
    uniform,
)


def test_grid_and_point_noise_are_the_same_surface():
    y, x = np.arange(-40.0, 60.0, 3.0), np.arange(900.0, 1000.0, 7.0)
    points = np.meshgrid(y, x, indexing="ij")
    on_grid = grid_noise(y, x, 23.0, key=5)
    np.testing.assert_allclose(point_noise(*points, 23.0, key=5), on_grid, atol=1e-5)


def test_noise_has_mean_zero_and_unit_deviation():
    axis = np.arange(0.0, 4000.0, 5.0)
    noise = grid_noise(axis, axis, 20.0, key=9)
    assert abs(noise.mean()) < 0.03
    assert abs(noise.std() - 1.0) < 0.03


def test_noise_is_smooth_across_lattice_lines_far_from_the_origin():
    axis = 1e8 + np.arange(0.0, 300.0)
    noise = grid_noise(axis, axis, 50.0, key=2)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.15


def test_hashes_are_uniform_and_unrelated_between_neighbours():
    rows, columns = np.meshgrid(np.arange(-150, 150), np.arange(-150, 150), indexing="ij")
    chance = uniform(hash_pair(rows, columns, key=1))
    counts, _ = np.histogram(chance, bins=10, range=(0, 1))
    assert np.abs(counts / chance.size - 0.1).max() < 0.006
    for neighbour in (chance[1:], chance[:, 1:]):
        other = chance[: neighbour.shape[0], : neighbour.shape[1]]
        assert abs(np.corrcoef(other.ravel(), neighbour.ravel())[0, 1]) < 0.02


def test_keys_differ_between_purposes_and_seeds_even_negative_ones():
    keys = {key_for(seed, name) for seed in (-1, 0, 1, 2**63) for name in ("a", "b/c")}
    assert len(keys) == 8
    assert all(0 <= key < 2**64 for key in keys)


def test_direction_and_smoothstep_hit_their_known_values():
    np.testing.assert_allclose(direction(0.25), (0.0, 1.0), atol=1e-12)
    ramp = smoothstep(np.array([0.0, 1.0, 2.0, 3.0], np.float32), 3.0, 1.0)
    np.testing.assert_allclose(ramp, [1.0, 1.0, 0.5, 0.0])
