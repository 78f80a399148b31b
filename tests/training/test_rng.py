import torch

from bench.training import rng


def draw(stream: rng.Stream, seed: int, index: int) -> list[int]:
    return torch.randint(2**62, (4,), generator=rng.generator(stream, seed, index)).tolist()


def test_a_draw_is_a_function_of_stream_seed_and_index():
    assert draw("train", 0, 3) == draw("train", 0, 3)
    others = [draw("train", 0, 3), draw("eval", 0, 3), draw("train", 1, 3), draw("train", 0, 4), draw("train", 30, 0)]
    assert len({tuple(each) for each in others}) == len(others)


def test_seed_zero_is_a_seed_and_known_on_every_machine():
    # The number is SHA-256 of "train/0/0", its first 8 bytes, shifted right by one.
    assert rng.generator("train", 0).initial_seed() == 0x674E88A606C7A2B1


def test_streams_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    draw("init", 0, 0)
    assert torch.equal(before, torch.get_rng_state())
