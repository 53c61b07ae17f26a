"""What every estimator is: scikit-learn's contract, members, predictions from outputs."""
