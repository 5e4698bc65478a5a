"""Order and names of the images that a run generates of a subject.

An image is (step, prompt, index): the weights after `step`, the index of its prompt, and its index among the images of
that prompt.
"""


def items(steps: list[int], n_prompts: int, n_images: int) -> list[tuple[int, int, int]]:
    """List the images of a run, in the order of the merged tar file."""
    return [(step, prompt, image) for step in steps for prompt in range(n_prompts) for image in range(n_images)]


def key(item: tuple[int, int, int]) -> str:
    """Return the name of an image in its tar file, without a dot."""
    step, prompt, image = item
    return f"step{step:05d}-prompt{prompt:02d}-{image}"
