"""Qlib's path for training a task; it lives in `qlib.workflow.train`."""

from qlib.workflow.train import begin_task_train, end_task_train, task_train

__all__ = ["begin_task_train", "end_task_train", "task_train"]
