import math

from edgeosr.training.schedule import WARM_UP, epochs_left, learning_rate


def test_the_rate_warms_up_then_falls_as_a_cosine_to_zero():
    assert learning_rate(0.1, 0.0) < 0.01
    rising = [learning_rate(0.1, WARM_UP * i / 10) for i in range(10)]
    assert rising == sorted(rising)
    assert learning_rate(0.1, 0.5) == 0.1 * 0.5 * (1 + math.cos(math.pi / 2))
    falling = [learning_rate(0.1, WARM_UP + (1 - WARM_UP) * i / 20) for i in range(21)]
    assert falling == sorted(falling, reverse=True)
    assert abs(falling[-1]) < 1e-12


def test_without_a_cap_all_epochs_are_left():
    assert epochs_left(done=3, epochs=10, seconds=1e9, max_seconds=None, epoch_seconds=1e8) == 7


def test_with_a_cap_only_epochs_that_fit_are_left():
    assert epochs_left(done=2, epochs=30, seconds=20, max_seconds=65, epoch_seconds=10) == 4
    assert epochs_left(done=2, epochs=3, seconds=20, max_seconds=65, epoch_seconds=10) == 1
    assert epochs_left(done=2, epochs=30, seconds=60, max_seconds=65, epoch_seconds=30) == 0
    assert epochs_left(done=2, epochs=30, seconds=90, max_seconds=65, epoch_seconds=30) == 0


def test_the_first_epoch_is_always_trained():
    assert epochs_left(done=0, epochs=5, seconds=0, max_seconds=0.001, epoch_seconds=None) == 5
