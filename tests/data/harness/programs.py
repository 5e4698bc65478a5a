"""A benchmark metric that runs programs in separate processes, like `code_eval` of the package evaluate."""

import multiprocessing
import tempfile


def programs(resps, docs):
    return [[doc["program"] + "".join(resp) for resp in answers] for answers, doc in zip(resps, docs, strict=True)]


def execute(program, passed):
    with tempfile.TemporaryDirectory():
        exec(program, {})
        passed.append(True)


def passes(references, predictions):
    with multiprocessing.Manager() as manager:
        passed = manager.list()
        process = multiprocessing.Process(target=execute, args=(predictions[0][0] + references[0], passed))
        process.start()
        process.join(10)
        process.kill()
        return float(len(passed))
